package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
)

// What an experiment with real speakers and a switch's kernel showed, and what MetalLB's texts say: two nodes with a session
// of their own each, and one Service.
var scene = []string{
	node("n1", `"kubernetes.io/hostname": "n1", "rack": "a"`, ""),
	node("n2", `"kubernetes.io/hostname": "n2", "rack": "a"`, ""),
	`{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default"}}`,
	`{"apiVersion": "metallb.io/v1beta1", "kind": "IPAddressPool", "metadata": {"name": "vips", "namespace": "metallb-system"},
		"spec": {"addresses": ["192.0.2.0/26"]}}`,
	session("sw-a", "10.1.1.0", `"nodeSelectors": [{"matchLabels": {"kubernetes.io/hostname": "n1"}}]`),
	session("sw-b", "10.1.2.0", `"nodeSelectors": [{"matchLabels": {"kubernetes.io/hostname": "n2"}}]`),
	advertisement("adv", ""),
	balancer("web", `"externalTrafficPolicy": "Cluster"`),
	endpoints("web", on("n1", `"ready": true`), on("n2", `"ready": true`)),
}

const (
	both = "n1: sw-a 192.0.2.0/32; n2: sw-b 192.0.2.0/32"
	one  = "n1: sw-a 192.0.2.0/32; n2: "
)

func node(name, labels, conditions string) string {
	return fmt.Sprintf(`{"apiVersion": "v1", "kind": "Node", "metadata": {"name": %q, "labels": {%s}}, "status": {"conditions": [%s]}}`,
		name, labels, conditions)
}

func session(name, address, more string) string {
	if more != "" {
		more = ", " + more
	}
	return fmt.Sprintf(`{"apiVersion": "metallb.io/v1beta2", "kind": "BGPPeer", "metadata": {"name": %q, "namespace": "metallb-system"},
		"spec": {"myASN": 65001, "peerASN": 65000, "peerAddress": %q%s}}`, name, address, more)
}

func advertisement(name, more string) string {
	if more != "" {
		more = ", " + more
	}
	return fmt.Sprintf(`{"apiVersion": "metallb.io/v1beta1", "kind": "BGPAdvertisement", "metadata": {"name": %q, "namespace": "metallb-system"},
		"spec": {"ipAddressPools": ["vips"]%s}}`, name, more)
}

func balancer(name, more string) string { return balancerAt(name, more, `{"ip": "192.0.2.0"}`) }

func balancerAt(name, more, ingress string) string {
	return fmt.Sprintf(`{"apiVersion": "v1", "kind": "Service", "metadata": {"name": %q, "namespace": "default"},
		"spec": {"type": "LoadBalancer", %s}, "status": {"loadBalancer": {"ingress": [%s]}}}`, name, more, ingress)
}

func endpoints(service string, list ...string) string {
	return fmt.Sprintf(`{"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4", "endpoints": [%s],
		"metadata": {"name": "%s-1", "namespace": "default", "labels": {"kubernetes.io/service-name": %q}}}`,
		strings.Join(list, ", "), service, service)
}

func on(node, conditions string) string {
	return fmt.Sprintf(`{"addresses": ["10.244.0.10"], "nodeName": %q, "conditions": {%s}}`, node, conditions)
}

// refused is the answer when both nodes' configuration is.
func refused(text string) string {
	return fmt.Sprintf("n1: configuration error: %s; noConfig; n2: configuration error: %[1]s; noConfig", text)
}

var local = balancer("web", `"externalTrafficPolicy": "Local"`)

// Objects of a case take the place of those of the same name, or come on top.
var cases = []struct {
	name    string
	objects []string
	want    string
}{
	{"Cluster", nil, both},
	{"Cluster, one endpoint", []string{endpoints("web", on("n1", `"ready": true`))}, both},
	{"Cluster, on a node without a speaker", []string{endpoints("web", on("n9", `"ready": true`))}, both},
	{"Cluster, no endpoint", []string{endpoints("web")}, "n1: noEndpoints; n2: noEndpoints"},
	{"Cluster, no node named", []string{endpoints("web", `{"addresses": ["10.244.0.10"]}`)}, both},
	{"Local", []string{local}, both},
	{"Local, on n1 only", []string{local, endpoints("web", on("n1", `"ready": true`))}, one + "noLocalEndpoints"},
	{"Local, none", []string{local, endpoints("web")}, "n1: noLocalEndpoints; n2: noLocalEndpoints"},
	{"Local, no node named", []string{local, endpoints("web", on("n1", `"ready": true`), `{"addresses": ["10.244.0.10"]}`)}, one + "noLocalEndpoints"},
	{"Local, terminating and serving", []string{local, endpoints("web", on("n1", ""), on("n2", `"ready": false, "serving": true, "terminating": true`))}, both},
	{"Local, not serving", []string{local, endpoints("web", on("n1", ""), on("n2", `"ready": false, "serving": false`))}, one + "noLocalEndpoints"},
	{"Local, serving unset", []string{local, endpoints("web", on("n1", ""), on("n2", `"ready": false`))}, one + "noLocalEndpoints"},
	{"Local, no conditions", []string{local, endpoints("web", on("n1", ""), on("n2", ""))}, both},
	{"Local, ready unset and not serving", []string{local, endpoints("web", on("n1", ""), on("n2", `"serving": false`))}, both},
	{"Local, ready and not serving", []string{local, endpoints("web", on("n1", ""), on("n2", `"ready": true, "serving": false`))}, both},
	{"Local, no address", []string{local, endpoints("web", on("n1", ""), `{"addresses": [], "nodeName": "n2"}`)}, one + "noLocalEndpoints"},
	{"excluded by a label without a value", []string{node("n2", `"kubernetes.io/hostname": "n2", "node.kubernetes.io/exclude-from-external-load-balancers": ""`, "")}, one + "nodeLabeledExcludeBalancers"},
	{"excluded by a label that says false", []string{node("n2", `"kubernetes.io/hostname": "n2", "node.kubernetes.io/exclude-from-external-load-balancers": "false"`, "")}, one + "nodeLabeledExcludeBalancers"},
	{"network unavailable", []string{node("n2", `"kubernetes.io/hostname": "n2"`, `{"type": "NetworkUnavailable", "status": "True"}`)}, one + "nodeNetworkUnavailable"},
	{"network unknown", []string{node("n2", `"kubernetes.io/hostname": "n2"`, `{"type": "NetworkUnavailable", "status": "Unknown"}`)}, both},
	{"not ready", []string{node("n2", `"kubernetes.io/hostname": "n2"`, `{"type": "Ready", "status": "False"}`)}, both},
	{"advertised from n1", []string{advertisement("adv", `"nodeSelectors": [{"matchLabels": {"kubernetes.io/hostname": "n1"}}]`)}, one + "notOwner"},
	{"advertised to sw-a", []string{advertisement("adv", `"peers": ["sw-a"]`)}, one},
	{"advertised to nobody", []string{advertisement("adv", `"peers": ["nosuchpeer"]`)}, "n1: ; n2: "},
	{"no such pool", []string{strings.Replace(advertisement("adv", ""), `"vips"`, `"nosuchpool"`, 1)}, "n1: notOwner; n2: notOwner"},
	{"other Services", []string{advertisement("adv", `"serviceSelectors": [{"matchLabels": {"app": "other"}}]`)}, "n1: noMatchingAdvertisement; n2: noMatchingAdvertisement"},
	{"aggregated", []string{advertisement("adv", `"aggregationLength": 26`)}, "n1: sw-a 192.0.2.0/26; n2: sw-b 192.0.2.0/26"},
	{"too far aggregated", []string{advertisement("adv", `"aggregationLength": 20`)},
		refused("invalid aggregation length 20: prefix 26 in this pool is more specific than the aggregation length for addresses 192.0.2.0/26")},
	{"a peer of no node", []string{session("sw-b", "10.1.2.0", `"nodeSelectors": [{"matchLabels": {"kubernetes.io/hostname": "n9"}}]`)}, one},
	{"a peer of all", []string{session("sw-c", "10.1.3.0", "")}, "n1: sw-a 192.0.2.0/32, sw-c 192.0.2.0/32; n2: sw-b 192.0.2.0/32, sw-c 192.0.2.0/32"},
	{"a peer of another namespace", []string{strings.Replace(session("sw-c", "10.1.3.0", ""), "metallb-system", "default", 1)}, both},
	{"with attributes", []string{advertisement("adv", `"localPref": 150, "communities": ["65001:100", "fast"]`),
		`{"apiVersion": "metallb.io/v1beta1", "kind": "Community", "metadata": {"name": "names", "namespace": "metallb-system"}, "spec": {"communities": [{"name": "fast", "value": "65001:7"}]}}`},
		"n1: sw-a 192.0.2.0/32 150 65001:7 65001:100; n2: sw-b 192.0.2.0/32 150 65001:7 65001:100"},
	{"an unknown community", []string{advertisement("adv", `"communities": ["no-export"]`)},
		refused("invalid community format: no-export\ninvalid community \"no-export\" in BGP advertisement")},
	{"refused on one node only", []string{advertisement("more", `"nodeSelectors": [{"matchLabels": {"kubernetes.io/hostname": "n2"}}], "aggregationLength": 33`)},
		"n1: sw-a 192.0.2.0/32; n2: configuration error: invalid aggregation length 33 for IPv4; noConfig"},
	{"no load balancer", []string{strings.Replace(local, "LoadBalancer", "ClusterIP", 1)}, "n1: notLoadBalancer; n2: notLoadBalancer"},
	{"no address yet", []string{balancerAt("web", `"externalTrafficPolicy": "Cluster"`, "")}, "n1: noIPAllocated; n2: noIPAllocated"},
	{"a host name", []string{balancerAt("web", `"externalTrafficPolicy": "Cluster"`, `{"hostname": "web.example"}`)}, "n1: invalidIP; n2: invalidIP"},
	{"outside of all pools", []string{balancerAt("web", `"externalTrafficPolicy": "Cluster"`, `{"ip": "198.51.100.1"}`)}, "n1: ipNotAllowed; n2: ipNotAllowed"},
	{"one address outside", []string{balancerAt("web", `"externalTrafficPolicy": "Cluster"`, `{"ip": "192.0.2.0"}, {"ip": "198.51.100.1"}`)}, "n1: ipNotAllowed; n2: ipNotAllowed"},
	{"of another class", []string{balancer("web", `"loadBalancerClass": "example/other"`)}, "n1: filtered service; n2: filtered service"},
	{"the same address twice", []string{balancer("api", `"externalTrafficPolicy": "Local"`), endpoints("api", on("n1", "")), local, endpoints("web", on("n2", ""))},
		"n1: api sw-a 192.0.2.0/32, noLocalEndpoints; n2: sw-b 192.0.2.0/32, api noLocalEndpoints"},
}

func TestTheRule(t *testing.T) {
	newBGP = newRecorder
	for _, c := range cases {
		for _, implementation := range []bgpImplementation{bgpNative, bgpFrr} {
			t.Run(fmt.Sprintf("%s/%s", c.name, implementation), func(t *testing.T) {
				if got := told(t, implementation, c.objects); got != c.want {
					t.Errorf("\n got %s\nwant %s", got, c.want)
				}
			})
		}
	}
}

// The modes differ in what a configuration may have, and in what a session of one family carries.
func TestTheModesDiffer(t *testing.T) {
	newBGP = newRecorder
	six := []string{
		`{"apiVersion": "metallb.io/v1beta1", "kind": "IPAddressPool", "metadata": {"name": "vips", "namespace": "metallb-system"}, "spec": {"addresses": ["192.0.2.0/26", "2001:db8::/64"]}}`,
		balancerAt("web", `"externalTrafficPolicy": "Cluster"`, `{"ip": "192.0.2.0"}, {"ip": "2001:db8::1"}`),
		session("sw-b", "fd00::1", `"nodeSelectors": [{"matchLabels": {"kubernetes.io/hostname": "n2"}}]`),
	}
	large := []string{advertisement("adv", `"communities": ["large:65001:1:2"]`)}
	for _, c := range []struct {
		implementation bgpImplementation
		objects        []string
		want           string
	}{
		{bgpNative, six, refused(`pool "vips" has ipv6 CIDR 2001:db8::/64, native bgp mode does not support ipv6`)},
		{bgpFrr, six, "n1: sw-a 192.0.2.0/32; n2: sw-b 2001:db8::1/128"},
		{bgpFrr, append(slices.Clone(six), session("sw-b", "fd00::1", `"dualStackAddressFamily": true, "nodeSelectors": [{"matchLabels": {"kubernetes.io/hostname": "n2"}}]`)),
			"n1: sw-a 192.0.2.0/32; n2: sw-b 192.0.2.0/32, sw-b 2001:db8::1/128"},
		{bgpFrr, large, "n1: sw-a 192.0.2.0/32 65001:1:2; n2: sw-b 192.0.2.0/32 65001:1:2"},
	} {
		if got := told(t, c.implementation, c.objects); got != c.want {
			t.Errorf("\n got %s\nwant %s", got, c.want)
		}
	}
}

func TestWhatCannotBeRead(t *testing.T) {
	for text, want := range map[string]string{
		`{"id": "1", "type": "layer2"}`: `type "layer2" is neither native nor frr`,
		`{"id": "1", "type": "frr", "objects": [{"apiVersion": "metallb.io/v1beta1", "kind": "BGPPeer"}]}`: "a speaker does not read metallb.io/v1beta1 BGPPeer",
		`{"id": 1}`: "json: cannot unmarshal number into Go struct field question.ID of type string",
	} {
		if got := ask([]byte(text)); got.Error != want {
			t.Errorf("\n got %s\nwant %s", got.Error, want)
		}
	}
}

// told asks, and writes the answer as short as the table has it: the Service "web" and a preference of 0 are not named.
func told(t *testing.T, implementation bgpImplementation, changes []string) string {
	t.Helper()
	objects := map[string]json.RawMessage{}
	for _, text := range append(slices.Clone(scene), changes...) {
		var head struct {
			Kind     string
			Metadata struct{ Name string }
		}
		if err := json.Unmarshal([]byte(text), &head); err != nil {
			t.Fatalf("%s: %s", err, text)
		}
		objects[head.Kind+"/"+head.Metadata.Name] = json.RawMessage(text)
	}
	line, err := json.Marshal(question{"1", implementation, slices.Collect(maps.Values(objects))})
	if err != nil {
		t.Fatal(err)
	}
	answer := ask(line)
	if answer.Error != "" || answer.ID != "1" {
		t.Fatalf("%+v", answer)
	}
	var nodes []string
	for _, name := range slices.Sorted(maps.Keys(answer.Nodes)) {
		v := answer.Nodes[name]
		var words []string
		for _, a := range v.Announcements {
			word := []string{strings.TrimPrefix(a.Service, "default/"), a.Peer, a.Prefix}
			if a.LocalPref != 0 {
				word = append(word, fmt.Sprint(a.LocalPref))
			}
			words = append(words, strings.TrimPrefix(strings.Join(append(word, a.Communities...), " "), "web "))
		}
		for _, service := range slices.Sorted(maps.Keys(v.Silent)) {
			words = append(words, strings.TrimPrefix(strings.TrimPrefix(service, "default/")+" "+v.Silent[service], "web "))
		}
		if v.Error != "" {
			words = append([]string{v.Error}, strings.Join(words, ", "))
			nodes = append(nodes, name+": "+strings.Join(words, "; "))
			continue
		}
		nodes = append(nodes, name+": "+strings.Join(words, ", "))
	}
	return strings.Join(nodes, "; ")
}
