package main

import (
	"context"
	"encoding/json"
	"fmt"

	metallbv1beta1 "go.universe.tf/metallb/api/v1beta1"
	metallbv1beta2 "go.universe.tf/metallb/api/v1beta2"
	"go.universe.tf/metallb/internal/k8s/epslices"
	v1 "k8s.io/api/core/v1"
	discovery "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// cluster is the API server of one case, as far as MetalLB's reconcilers ask it: it lists and gets what stands in the case,
// and keeps the condition that one of them writes. Anything else that they might ask is a panic.
type cluster struct {
	client.Client

	nodes      v1.NodeList
	namespaces v1.NamespaceList
	services   v1.ServiceList
	secrets    v1.SecretList
	configMaps v1.ConfigMapList
	slices     discovery.EndpointSliceList
	pools      metallbv1beta1.IPAddressPoolList
	peers      metallbv1beta2.BGPPeerList
	bgp        metallbv1beta1.BGPAdvertisementList
	layer2     metallbv1beta1.L2AdvertisementList
	profiles   metallbv1beta1.BFDProfileList
	aliases    metallbv1beta1.CommunityList

	condition string
}

// readCluster takes the objects of a case. A kind that no speaker reads is an error, since it may be a mistake.
func readCluster(objects []json.RawMessage) (*cluster, error) {
	c := &cluster{}
	for _, object := range objects {
		var head struct{ APIVersion, Kind string }
		if err := json.Unmarshal(object, &head); err != nil {
			return nil, err
		}
		var err error
		switch head.APIVersion + " " + head.Kind {
		case "v1 Node":
			c.nodes.Items, err = add(c.nodes.Items, object)
		case "v1 Namespace":
			c.namespaces.Items, err = add(c.namespaces.Items, object)
		case "v1 Service":
			c.services.Items, err = add(c.services.Items, object)
		case "v1 Secret":
			c.secrets.Items, err = add(c.secrets.Items, object)
		case "v1 ConfigMap":
			c.configMaps.Items, err = add(c.configMaps.Items, object)
		case "discovery.k8s.io/v1 EndpointSlice":
			c.slices.Items, err = add(c.slices.Items, object)
		case "metallb.io/v1beta1 IPAddressPool":
			c.pools.Items, err = add(c.pools.Items, object)
		case "metallb.io/v1beta2 BGPPeer":
			c.peers.Items, err = add(c.peers.Items, object)
		case "metallb.io/v1beta1 BGPAdvertisement":
			c.bgp.Items, err = add(c.bgp.Items, object)
		case "metallb.io/v1beta1 L2Advertisement":
			c.layer2.Items, err = add(c.layer2.Items, object)
		case "metallb.io/v1beta1 BFDProfile":
			c.profiles.Items, err = add(c.profiles.Items, object)
		case "metallb.io/v1beta1 Community":
			c.aliases.Items, err = add(c.aliases.Items, object)
		default:
			err = fmt.Errorf("a speaker does not read %s %s", head.APIVersion, head.Kind)
		}
		if err != nil {
			return nil, err
		}
	}
	return c, nil
}

func add[T any](items []T, object json.RawMessage) ([]T, error) {
	var item T
	err := json.Unmarshal(object, &item)
	return append(items, item), err
}

// Get finds one object, or says that there is none.
func (c *cluster) Get(_ context.Context, key client.ObjectKey, into client.Object, _ ...client.GetOption) error {
	switch into := into.(type) {
	case *v1.Node:
		return get(key, c.nodes.Items, into)
	case *v1.ConfigMap:
		return get(key, c.configMaps.Items, into)
	case *v1.Service:
		return get(key, c.services.Items, into)
	}
	panic(fmt.Sprintf("nobody said that a speaker gets %T", into))
}

func get[T any, P object[T]](key client.ObjectKey, items []T, into P) error {
	for i := range items {
		if item := P(&items[i]); client.ObjectKeyFromObject(item) == key {
			*into = *item.DeepCopy()
			return nil
		}
	}
	return apierrors.NewNotFound(schema.GroupResource{}, key.String())
}

// List honours the two options that the reconcilers use: a namespace, and the index of slices by Service.
func (c *cluster) List(_ context.Context, into client.ObjectList, options ...client.ListOption) error {
	var wanted client.ListOptions
	wanted.ApplyOptions(options)
	switch into := into.(type) {
	case *v1.NodeList:
		into.Items = list(&wanted, c.nodes.Items)
	case *v1.NamespaceList:
		into.Items = list(&wanted, c.namespaces.Items)
	case *v1.ServiceList:
		into.Items = list(&wanted, c.services.Items)
	case *v1.SecretList:
		into.Items = list(&wanted, c.secrets.Items)
	case *discovery.EndpointSliceList:
		into.Items = list(&wanted, c.slices.Items)
	case *metallbv1beta1.IPAddressPoolList:
		into.Items = list(&wanted, c.pools.Items)
	case *metallbv1beta2.BGPPeerList:
		into.Items = list(&wanted, c.peers.Items)
	case *metallbv1beta1.BGPAdvertisementList:
		into.Items = list(&wanted, c.bgp.Items)
	case *metallbv1beta1.L2AdvertisementList:
		into.Items = list(&wanted, c.layer2.Items)
	case *metallbv1beta1.BFDProfileList:
		into.Items = list(&wanted, c.profiles.Items)
	case *metallbv1beta1.CommunityList:
		into.Items = list(&wanted, c.aliases.Items)
	default:
		panic(fmt.Sprintf("nobody said that a speaker lists %T", into))
	}
	return nil
}

type object[T any] interface {
	*T
	client.Object
	DeepCopy() *T
}

func list[T any, P object[T]](wanted *client.ListOptions, items []T) []T {
	found := []T{}
	for i := range items {
		item := P(&items[i])
		if wanted.Namespace != "" && item.GetNamespace() != wanted.Namespace {
			continue
		}
		if wanted.FieldSelector != nil {
			// MetalLB's own index function; a slice without its label belongs to no Service.
			keys, err := epslices.SlicesServiceIndex(item)
			if service, ok := wanted.FieldSelector.RequiresExactMatch(epslices.SlicesServiceIndexName); !ok || err != nil || keys[0] != service {
				continue
			}
		}
		found = append(found, *item.DeepCopy())
	}
	return found
}

// Status takes what the reconciler of the configuration says of it.
func (c *cluster) Status() client.SubResourceWriter { return statusWriter{cluster: c} }

type statusWriter struct {
	client.SubResourceWriter
	cluster *cluster
}

func (w statusWriter) Patch(_ context.Context, object client.Object, _ client.Patch, _ ...client.SubResourcePatchOption) error {
	state, ok := object.(*metallbv1beta1.ConfigurationState)
	if !ok || len(state.Status.Conditions) != 1 {
		return fmt.Errorf("not a ConfigurationState with one condition: %T", object)
	}
	w.cluster.condition = state.Status.Conditions[0].Message
	return nil
}
