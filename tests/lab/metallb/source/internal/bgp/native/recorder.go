package native

import (
	"sync"

	"github.com/go-kit/log"
	"go.universe.tf/metallb/internal/bgp"
)

// Recorder is this package's session manager without connections: each session takes, refuses and merges advertisements by
// the code of the real one, and keeps what it would send.
type Recorder struct {
	sessionManager
	sessions map[string]*session
}

// NewRecorder has no sessions yet.
func NewRecorder() *Recorder { return &Recorder{sessions: map[string]*session{}} }

// NewSession makes a session that never connects.
func (r *Recorder) NewSession(l log.Logger, args bgp.SessionParameters) (bgp.Session, error) {
	s := &session{SessionParameters: args, logger: l, peerName: args.SessionName}
	s.cond = sync.NewCond(&s.mu)
	r.sessions[args.SessionName] = s
	return s, nil
}

// Sent says, by BGPPeer and prefix, what the peers would have received.
func (r *Recorder) Sent() (map[string]map[string]*bgp.Advertisement, error) {
	sent := map[string]map[string]*bgp.Advertisement{}
	for name, s := range r.sessions {
		if !s.closed {
			sent[name] = s.new
		}
	}
	return sent, nil
}
