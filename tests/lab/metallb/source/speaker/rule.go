// MetalLB's own rule, asked without a cluster and without a BGP session: which prefix each Node's speaker would send to
// which peer, and why not.
//
// It is the speaker's program with another beginning: JSON lines on standard input, one JSON line each on standard output, in
// the same order.
//
//	{"id": "1", "type": "native" | "frr", "objects": [as the API serves them]}
//	{"id": "1", "nodes": {"n1": {"error": "", "announcements": [{"service": "default/web", "peer": "leaf1",
//	  "prefix": "192.0.2.0/32", "localPref": 0, "communities": ["65001:100"]}], "silent": {"default/api": "noEndpoints"}}}}
//	{"id": "1", "error": "why the case could not be read"}
//
// For each Node it starts what a speaker is: the reconcilers of nodes, configuration and Services, and the controllers
// behind them, all MetalLB's. Only the API server (cluster.go) and the sockets of the sessions (the two recorder.go) are
// ours, and nothing is written to the log. MetalLB's namespace is metallb-system, no Load Balancer class is asked for, and the speaker has only just started:
// of a configuration that was in force before a refused one it knows nothing.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/go-kit/log"
	"go.universe.tf/metallb/internal/bgp"
	bgpfrr "go.universe.tf/metallb/internal/bgp/frr"
	bgpnative "go.universe.tf/metallb/internal/bgp/native"
	"go.universe.tf/metallb/internal/config"
	"go.universe.tf/metallb/internal/k8s/controllers"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const metallbNamespace = "metallb-system"

// A failed pass is tried again with growing pauses by the real one; what fails twice here fails always.
const passes = 2

type question struct {
	ID      string
	Type    bgpImplementation
	Objects []json.RawMessage
}

type answer struct {
	ID    string              `json:"id"`
	Error string              `json:"error,omitempty"`
	Nodes map[string]*verdict `json:"nodes,omitempty"`
}

// verdict is what a node's speaker does. Error is MetalLB's text when it refuses its configuration. A Service that is neither
// announced nor silent was announced to nobody: no session matches.
type verdict struct {
	Error         string            `json:"error"`
	Announcements []announcement    `json:"announcements"`
	Silent        map[string]string `json:"silent"`
}

// announcement is one path to one peer. LocalPref is the advertisement's; on the wire it goes to internal peers only.
type announcement struct {
	Service     string   `json:"service"`
	Peer        string   `json:"peer"`
	Prefix      string   `json:"prefix"`
	LocalPref   uint32   `json:"localPref"`
	Communities []string `json:"communities"`
}

// MetalLB's main stays as it is, and is never reached.
func init() {
	if testing.Testing() {
		return
	}
	newBGP = newRecorder
	// It lives for a second: memory is cheaper than looking for it.
	debug.SetGCPercent(400)
	if err := serve(); err != nil {
		fmt.Fprintln(os.Stderr, "rule:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func serve() error {
	in := bufio.NewReader(os.Stdin)
	out := bufio.NewWriter(os.Stdout)
	for {
		line, err := in.ReadBytes('\n')
		if len(strings.TrimSpace(string(line))) > 0 {
			text, err := json.Marshal(ask(line))
			if err != nil {
				return err
			}
			if _, err := out.Write(append(text, '\n')); err != nil {
				return err
			}
		}
		// Somebody may wait for an answer before asking again.
		if in.Buffered() == 0 {
			if err := out.Flush(); err != nil {
				return err
			}
		}
		if err != nil {
			return nil
		}
	}
}

func ask(line []byte) answer {
	var q question
	if err := json.Unmarshal(line, &q); err != nil {
		return answer{ID: q.ID, Error: err.Error()}
	}
	if q.Type != bgpNative && q.Type != bgpFrr {
		return answer{ID: q.ID, Error: fmt.Sprintf("type %q is neither native nor frr", q.Type)}
	}
	cluster, err := readCluster(q.Objects)
	if err != nil {
		return answer{ID: q.ID, Error: err.Error()}
	}
	verdicts := make([]*verdict, len(cluster.nodes.Items))
	failures := make([]error, len(verdicts))
	var all sync.WaitGroup
	for i := range verdicts {
		all.Go(func() {
			// What is said of a configuration is each speaker's own.
			own := *cluster
			verdicts[i], failures[i] = speakerOn(own.nodes.Items[i].Name, q.Type, &own)
		})
	}
	all.Wait()
	nodes := map[string]*verdict{}
	for i, verdict := range verdicts {
		name := cluster.nodes.Items[i].Name
		if failures[i] != nil {
			return answer{ID: q.ID, Error: fmt.Sprintf("%s: %s", name, failures[i])}
		}
		nodes[name] = verdict
	}
	return answer{ID: q.ID, Nodes: nodes}
}

// recorder is a session manager that keeps what would be sent.
type recorder interface {
	bgp.SessionManager
	Sent() (map[string]map[string]*bgp.Advertisement, error)
}

func newRecorder(cfg controllerConfig) bgp.SessionManager {
	if cfg.bgpType == bgpFrr {
		return bgpfrr.NewRecorder()
	}
	return bgpnative.NewRecorder()
}

// witness stands before the BGP controller and writes down what it answers.
type witness struct {
	*bgpController
	silent map[string]string
}

func (w *witness) DeleteBalancer(l log.Logger, name, reason string) error {
	w.silent[name] = reason
	return w.bgpController.DeleteBalancer(l, name, reason)
}

func (w *witness) SetBalancer(l log.Logger, name string, ips []net.IP, pool *config.Pool, client service, svc *v1.Service) error {
	delete(w.silent, name)
	err := w.bgpController.SetBalancer(l, name, ips, pool, client, svc)
	if err != nil {
		w.silent[name] = err.Error()
	}
	return err
}

// nobody takes the events that a speaker writes to its Services.
type nobody struct{}

func (nobody) UpdateStatus(*v1.Service) error                     { return errors.New("a speaker writes no status") }
func (nobody) Infof(*v1.Service, string, string, ...interface{})  {}
func (nobody) Errorf(*v1.Service, string, string, ...interface{}) {}

// speakerOn starts a node's speaker on a cluster and lets it come to rest.
func speakerOn(node string, implementation bgpImplementation, cluster *cluster) (*verdict, error) {
	nothing := log.NewNopLogger()
	speaker, err := newController(controllerConfig{
		MyNode:                node,
		Namespace:             metallbNamespace,
		FRRK8sNamespace:       metallbNamespace,
		Logger:                nothing,
		bgpType:               implementation,
		DisableLayer2:         true,
		BGPAdsChangedCallback: func(string) {},
	})
	if err != nil {
		return nil, err
	}
	speaker.client = nobody{}
	routes, ok := speaker.protocolHandlers[config.BGP].(*bgpController)
	if !ok {
		return nil, errors.New("the speaker has another controller for BGP")
	}
	sessions, ok := routes.sessionManager.(recorder)
	if !ok {
		return nil, errors.New("the speaker has another session manager")
	}
	if ends, ok := sessions.(interface{ Close() }); ok {
		defer ends.Close()
	}
	watched := &witness{routes, map[string]string{}}
	speaker.protocolHandlers[config.BGP] = watched
	for i := range cluster.services.Items {
		key := client.ObjectKeyFromObject(&cluster.services.Items[i]).String()
		// Reasons are given for what was announced before, so everything was. These words are for those that MetalLB does not
		// even look at: of another class.
		speaker.announced[config.BGP][key] = true
		watched.silent[key] = "filtered service"
	}

	refused, err := reconcile(speaker, cluster)
	if err != nil {
		return nil, err
	}
	if refused != "" {
		for key := range watched.silent {
			watched.silent[key] = "noConfig"
		}
	}
	sent, err := sessions.Sent()
	if err != nil {
		return nil, err
	}
	return &verdict{refused, announcements(routes, sent), watched.silent}, nil
}

// reconcile runs the three reconcilers of a speaker as they run after its start; it gives MetalLB's text when the node's
// configuration is refused.
func reconcile(speaker *controller, cluster *cluster) (string, error) {
	nothing := log.NewNopLogger()
	ctx := context.Background()

	nodes := controllers.NodeReconciler{
		Client: cluster, Logger: nothing, NodeName: speaker.myNode, Namespace: metallbNamespace,
		Handler: speaker.SetNode, ForceReload: func() {},
	}
	for i := range cluster.nodes.Items {
		if _, err := nodes.Reconcile(ctx, requestFor(&cluster.nodes.Items[i])); err != nil {
			return "", err
		}
	}

	loaded := false
	settings := controllers.ConfigReconciler{
		Client: cluster, Logger: nothing, NodeName: speaker.myNode, Namespace: metallbNamespace,
		ConfigStateName: "speaker-" + speaker.myNode,
		ValidateConfig:  config.ValidationFor(string(speaker.bgpType)),
		Handler:         speaker.SetConfig,
		ForceReload:     func() { loaded = true },
	}
	if _, err := settings.Reconcile(ctx, ctrl.Request{}); err != nil && cluster.condition == "" {
		// A selector that cannot be parsed ends here, and not in the condition.
		return err.Error(), nil
	}
	if cluster.condition != "" {
		return cluster.condition, nil
	}
	if !loaded {
		return "", errors.New("the configuration was neither taken nor refused")
	}

	services := controllers.ServiceReconciler{
		Client: cluster, Logger: nothing, Namespace: metallbNamespace, Endpoints: true,
		Handler: speaker.SetBalancer,
	}
	for range passes {
		if _, err := services.Reconcile(ctx, requestFor(controllers.NewReloadEvent().Object)); err == nil {
			break
		}
	}
	return "", nil
}

func requestFor(object client.Object) ctrl.Request {
	return ctrl.Request{NamespacedName: types.NamespacedName{Namespace: object.GetNamespace(), Name: object.GetName()}}
}

// announcements are the paths that the sessions keep, each with the Services that want it: several may share one.
func announcements(routes *bgpController, sent map[string]map[string]*bgp.Advertisement) []announcement {
	found := map[string]announcement{}
	for service, ads := range routes.svcAds {
		for peer, paths := range sent {
			for _, ad := range adsForPeer(peer, ads) {
				prefix := ad.Prefix.String()
				path := paths[prefix]
				if path == nil {
					continue
				}
				communities := []string{}
				for _, c := range path.Communities {
					communities = append(communities, c.String())
				}
				found[service+" "+peer+" "+prefix] = announcement{service, peer, prefix, path.LocalPref, communities}
			}
		}
	}
	all := []announcement{}
	for _, one := range found {
		all = append(all, one)
	}
	slices.SortFunc(all, func(a, b announcement) int {
		return strings.Compare(a.Service+" "+a.Peer+" "+a.Prefix, b.Service+" "+b.Peer+" "+b.Prefix)
	})
	return all
}
