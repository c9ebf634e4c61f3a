// Package v1beta1 has the types of frr-k8s that MetalLB names when it is compiled: the release that it asks for cannot be had.
//
// In native and frr mode nothing of this is ever sent or read. In frr-k8s mode it must not be used: on the wire the fields
// have other names.
package v1beta1

import (
	"encoding/json"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// DynamicASNMode is "internal" or "external".
type DynamicASNMode string

// SecretReference names a Secret.
type SecretReference struct{ Name, Namespace string }

// AllowedOutPrefixes are those that may be announced.
type AllowedOutPrefixes struct{ Prefixes []string }

// LocalPrefPrefixes are those that go out with a local preference.
type LocalPrefPrefixes struct {
	LocalPref uint32
	Prefixes  []string
}

// CommunityPrefixes are those that go out with a community.
type CommunityPrefixes struct {
	Community string
	Prefixes  []string
}

// AsPathPrependPrefixes are those that go out with a longer path.
type AsPathPrependPrefixes struct {
	AsPathPrepend uint8
	Prefixes      []string
}

// Advertise is what goes to a neighbor.
type Advertise struct {
	Allowed                   AllowedOutPrefixes
	PrefixesWithLocalPref     []LocalPrefPrefixes
	PrefixesWithCommunity     []CommunityPrefixes
	PrefixesWithAsPathPrepend []AsPathPrependPrefixes
}

// Neighbor is one BGP session.
type Neighbor struct {
	ASN                                  uint32
	DynamicASN                           DynamicASNMode
	Address, Interface                   string
	Port                                 *uint16
	HoldTime, KeepaliveTime, ConnectTime *metav1.Duration
	BFDProfile, Password                 string
	PasswordSecret                       SecretReference
	EnableGracefulRestart, EBGPMultiHop  bool
	DualStackAddressFamily, DisableMP    bool
	ToAdvertise                          Advertise
}

// Router is one BGP instance.
type Router struct {
	ASN       uint32
	ID, VRF   string
	Neighbors []Neighbor
	Prefixes  []string
}

// BFDProfile is a set of timers.
type BFDProfile struct {
	Name                                                              string
	ReceiveInterval, TransmitInterval, DetectMultiplier, EchoInterval *uint32
	MinimumTTL                                                        *uint32
	EchoMode, PassiveMode                                             *bool
}

// BGPConfig is all of BGP on a node.
type BGPConfig struct {
	Routers     []Router
	BFDProfiles []BFDProfile
}

// FRRConfigurationSpec is what a node's FRR should be.
type FRRConfigurationSpec struct {
	BGP          BGPConfig
	NodeSelector metav1.LabelSelector
}

// DeepCopyInto copies.
func (s *FRRConfigurationSpec) DeepCopyInto(to *FRRConfigurationSpec) { duplicate(s, to) }

// FRRConfiguration is the object that MetalLB writes and frr-k8s reads.
type FRRConfiguration struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`
	Spec              FRRConfigurationSpec
}

// DeepCopy copies.
func (c *FRRConfiguration) DeepCopy() *FRRConfiguration {
	to := new(FRRConfiguration)
	duplicate(c, to)
	return to
}

// DeepCopyObject makes it a runtime.Object.
func (c *FRRConfiguration) DeepCopyObject() runtime.Object { return c.DeepCopy() }

func duplicate(from, to any) {
	text, err := json.Marshal(from)
	if err == nil {
		err = json.Unmarshal(text, to)
	}
	if err != nil {
		panic(err)
	}
}

// AddToScheme makes the kind known.
func AddToScheme(scheme *runtime.Scheme) error {
	scheme.AddKnownTypes(schema.GroupVersion{Group: "frrk8s.metallb.io", Version: "v1beta1"}, &FRRConfiguration{})
	return nil
}
