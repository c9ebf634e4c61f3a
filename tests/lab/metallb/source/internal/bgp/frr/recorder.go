package frr

import (
	"fmt"
	"net"
	"sort"

	"go.universe.tf/metallb/internal/bgp"
	"go.universe.tf/metallb/internal/bgp/community"
)

// Recorder is this package's session manager without FRR: what it renders is not written anywhere.
type Recorder struct{ *sessionManager }

// NewRecorder has no sessions yet. Close ends it.
func NewRecorder() *Recorder {
	manager := &sessionManager{sessions: map[string]*session{}, reloadConfig: make(chan reloadEvent)}
	go func() {
		for range manager.reloadConfig {
		}
	}()
	return &Recorder{manager}
}

// Close ends it.
func (r *Recorder) Close() { close(r.reloadConfig) }

// Sent says, by BGPPeer and prefix, what the peers would have received, as the rendered configuration has it.
func (r *Recorder) Sent() (map[string]map[string]*bgp.Advertisement, error) {
	config, err := r.createConfig()
	if err != nil {
		return nil, err
	}
	neighbors := map[string]*neighborConfig{}
	for _, router := range config.Routers {
		for _, neighbor := range router.Neighbors {
			neighbors[RouterName(router.RouterID, router.MyASN, router.VRF)+neighbor.Name] = neighbor
		}
	}
	sent := map[string]map[string]*bgp.Advertisement{}
	for _, s := range r.sessions {
		id := ""
		if s.RouterID != nil {
			id = s.RouterID.String()
		}
		name := NeighborName(s.PeerAddress, s.PeerInterface, s.PeerASN, s.DynamicASN, s.VRFName)
		neighbor, ok := neighbors[RouterName(id, s.MyASN, s.VRFName)+name]
		if !ok {
			return nil, fmt.Errorf("no neighbor %s in the configuration", name)
		}
		if sent[s.SessionName], err = announced(neighbor); err != nil {
			return nil, err
		}
	}
	return sent, nil
}

// What the outgoing route-map of a neighbor lets pass, and sets.
func announced(neighbor *neighborConfig) (map[string]*bgp.Advertisement, error) {
	out := map[string]*bgp.Advertisement{}
	for _, prefixes := range [][]string{neighbor.PrefixesV4, neighbor.PrefixesV6} {
		for _, prefix := range prefixes {
			_, network, err := net.ParseCIDR(prefix)
			if err != nil {
				return nil, err
			}
			out[prefix] = &bgp.Advertisement{Prefix: network, Communities: []community.BGPCommunity{}}
		}
	}
	// Each entry goes on to the next one: the last one that sets a preference has the last word.
	for _, list := range neighbor.LocalPrefPrefixLists() {
		for _, prefix := range list.Prefixes {
			if ad := out[prefix]; ad != nil {
				ad.LocalPref = list.LocalPreference
			}
		}
	}
	for _, list := range neighbor.CommunityPrefixLists() {
		for _, prefix := range list.Prefixes {
			if ad := out[prefix]; ad != nil {
				ad.Communities = append(ad.Communities, list.Community)
			}
		}
	}
	// The lists are in the order of their names; advertisements have theirs in the order of their numbers.
	for _, ad := range out {
		sort.Slice(ad.Communities, func(i, j int) bool { return ad.Communities[i].LessThan(ad.Communities[j]) })
	}
	return out, nil
}
