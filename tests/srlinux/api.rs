//! The same agent fed from a real API server, with the overlay of the anycast lab: its Node says what the switch does.

use std::time::Duration;

use crate::emulator::{Emulator, Fault, Listen, Speaker};
use crate::lab::{Api, Lab, wait_for};
use crate::release::Release;

const VIP: &str = "1.1.1.100/32";

fn condition_is(lab: &Lab, kind: &str, status: &str, reason: &str) {
    wait_for(&format!("{kind} is {status}/{reason}"), Duration::from_secs(60), || {
        let seen = lab.condition("leaf1", kind).unwrap_or_default();
        if seen["status"] == status && seen["reason"] == reason { Ok(()) } else { Err(seen.to_string()) }
    });
}

#[test]
fn the_node_of_an_sr_linux_says_what_it_does() {
    let Some(lab) = Lab::up(Api::Real, Release::V8_4) else { return };
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    for overlay in ["manifests", "overlays/anycast-lab"] {
        lab.kubectl(&["apply", "-k", root.join(overlay).to_str().unwrap()]);
    }
    lab.lab(&["node", "leaf1", "--ip", "172.31.0.11", "--label", "switchlet.io/switch=true"]);
    lab.lab(&["node", "cluster1", "--ip", "192.168.49.2", "--label", "switchlet.io/leaf=leaf1"]);
    lab.kubectl(&["annotate", "node", "cluster1", "switchlet.io/vip-peer=192.168.1.11"]);
    lab.apply(
        "apiVersion: v1\nkind: Service\nmetadata: {name: nginx, namespace: default}\n\
         spec: {type: LoadBalancer, ports: [{port: 80}]}\n---\n\
         apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
         metadata: {name: nginx-1, namespace: default, labels: {kubernetes.io/service-name: nginx}}\n\
         addressType: IPv4\nports: [{port: 80}]\nendpoints: [{addresses: [10.244.1.1], nodeName: cluster1}]\n",
    );
    let patch = r#"{"status":{"loadBalancer":{"ingress":[{"ip":"1.1.1.100"}]}}}"#;
    lab.kubectl(&["patch", "svc", "nginx", "--subresource=status", "--type=merge", "-p", patch]);

    let emulator = Emulator::start("v25.3.2", "7220 IXR-D2L", ("ip-vrf-1", "ip-vrf"), Listen::Unix);
    emulator.network(|network| network.speakers = vec![Speaker::new("192.168.1.11", 65535, &[VIP])]);
    let kubeconfig = lab.kubeconfig("leaf1");
    let address = emulator.address();
    let inputs = [
        "--namespace",
        "switchlet",
        "--kubeconfig",
        &kubeconfig,
        "--nos",
        "srlinux",
        "--nos-address",
        &address,
    ];
    let _agent = lab.agent_with("leaf1", &inputs);
    condition_is(&lab, "ConfigApplied", "True", "Applied");
    condition_is(&lab, "FIBSynced", "True", "InSync");
    assert_eq!(emulator.statuses(), ["complete"]);
    let status = lab.get(&["switch", "leaf1", "-n", "switchlet"])["status"].clone();
    assert_eq!(status["capabilities"]["guard"], "native", "{status:#}");
    assert_eq!(status["capabilities"]["resilientHash"], "Native", "{status:#}");
    assert_eq!(status["vips"][0]["networkInstance"], "ip-vrf-1", "{status:#}");

    emulator.network(|network| drop(network.faults.insert(VIP.to_owned(), Fault::AddFailed)));
    condition_is(&lab, "FIBSynced", "False", "SwitchDiverged");
    let message = lab.condition("leaf1", "FIBSynced").unwrap()["message"].to_string();
    assert!(
        message.contains("HardwareNotProgrammed") && message.contains("add failed on complex-1.0"),
        "{message}"
    );
    emulator.network(|network| network.faults.clear());
    condition_is(&lab, "FIBSynced", "True", "InSync");
}
