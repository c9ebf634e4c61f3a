//! What `preflight` asks the API server. Each answer is a value or why there is none; what it means is decided in
//! [`crate::health::preflight`].
#![expect(clippy::disallowed_methods, reason = "shell: compares clocks")]

use http::Request;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use k8s_openapi::api::admissionregistration::v1::ValidatingAdmissionPolicyBinding;
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec, SubjectAccessReview,
    SubjectAccessReviewSpec,
};
use k8s_openapi::api::core::v1::{ConfigMap, Node, Pod};
use kube::Client;
use kube::api::{Api, ListParams, PostParams};
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use serde_json::Value;

use super::chain;
use super::policy::{self, Standing};
use crate::health::preflight::{self, Check, Right, Taint};

/// Whom to ask, and about what.
pub struct Asker<'a> {
    /// The way to the API server.
    pub client: &'a Client,
    /// Of the Switch and of the agent's `ServiceAccount`.
    pub namespace: &'a str,
    /// The switch.
    pub node: &'a str,
}

/// Bindings of `manifests/policy.yaml`.
const BINDINGS: [&str; 4] =
    ["switchlet-agent-nodes", "switchlet-agent-switches", "switchlet-agent-events", "switchlet-agent-leases"];
const ADMIN: &str = "run it with an administrator's kubeconfig (--kubeconfig)";

impl Asker<'_> {
    /// Everything that the API server can tell; `ours` are the fields of a status that this release writes.
    pub async fn ask(&self, ours: &[&str]) -> Vec<Check> {
        let minor = match self.version().await {
            Ok((check, minor, offset)) => {
                let mut first = vec![check];
                first.extend(offset.map(preflight::clock));
                (first, minor)
            }
            Err(why) => {
                let remedy = "a switch has no ClusterIPs: --api-server URL, and --api-device where management has a VRF";
                return vec![Check::fail("API server", why, remedy)];
            }
        };
        let (mut checks, minor) = minor;
        let me = self.me().await;
        let agent = format!("system:serviceaccount:{}:agent", self.namespace);
        let is_agent = me.as_deref() == Ok(agent.as_str());
        checks.push(self.rights(&agent, is_agent).await);
        checks.push(match self.document("switchlet.io/v1alpha1").await {
            Ok(document) => preflight::schema(&document.unwrap_or_default(), ours),
            Err(why) => Check::blind("CRD switches.switchlet.io", why, ADMIN),
        });
        checks.push(self.policy(is_agent).await);
        checks.extend(self.switch().await);
        checks.extend(self.placement().await);
        match self.document("metallb.io/v1beta2").await {
            Ok(Some(document)) => checks.push(preflight::metallb(&document, minor)),
            Ok(None) => {}
            Err(why) => checks.push(Check::blind("MetalLB's CRDs", why, ADMIN)),
        }
        checks
    }

    /// The server's version, its minor number, and how far our clock is ahead of its.
    async fn version(&self) -> Result<(Check, Option<u32>, Option<i64>), String> {
        let request =
            Request::get("/version").body(kube::client::Body::empty()).map_err(|e| e.to_string())?;
        let before = Timestamp::now();
        let response = self.client.send(request).await.map_err(|error| chain(&error))?;
        let after = Timestamp::now();
        let status = response.status();
        if !status.is_success() {
            return Err(format!("/version: {status}"));
        }
        let date = response.headers().get("date").and_then(|date| date.to_str().ok()).and_then(http_date);
        let body = response.into_body().collect_bytes().await.map_err(|error| error.to_string())?;
        let version: Value = serde_json::from_slice(&body).unwrap_or_default();
        let text = version["gitVersion"].as_str().unwrap_or("?").to_owned();
        let digits: String =
            version["minor"].as_str().unwrap_or_default().chars().take_while(char::is_ascii_digit).collect();
        let minor = digits.parse().ok();
        let check = match minor {
            Some(minor) if minor < 30 => Check::warn(
                "API server",
                text,
                "Kubernetes 1.30 is the first with admission policies: without them RBAC alone binds an agent",
            ),
            _ => Check::ok("API server", text),
        };
        // Its clock has whole seconds and was read somewhere between our two.
        let offset = date.map(|date| {
            let (early, late) = (before.as_second() - date.as_second(), after.as_second() - date.as_second());
            if early > 0 { early } else { late.min(0) }
        });
        Ok((check, minor, offset))
    }

    async fn me(&self) -> Result<String, String> {
        let api: Api<SelfSubjectReview> = Api::all(self.client.clone());
        let review = api.create(&PostParams::default(), &SelfSubjectReview::default()).await;
        let review = review.map_err(|error| chain(&error))?;
        Ok(review
            .status
            .and_then(|status| status.user_info)
            .and_then(|user| user.username)
            .unwrap_or_default())
    }

    async fn rights(&self, agent: &str, is_agent: bool) -> Check {
        let mut answers = Vec::new();
        for right in preflight::rights() {
            let answer = self.may(right, agent, is_agent).await;
            let failed = answer.is_err();
            answers.push((right, answer));
            if failed {
                break;
            }
        }
        preflight::permitted(&answers)
    }

    async fn may(&self, right: Right, agent: &str, is_agent: bool) -> Result<bool, String> {
        let Right { group, resource, subresource, verb, everywhere } = right;
        let asked = ResourceAttributes {
            group: Some(group.to_owned()),
            resource: Some(resource.to_owned()),
            subresource: Some(subresource.to_owned()).filter(|text| !text.is_empty()),
            verb: Some(verb.to_owned()),
            namespace: (!everywhere).then(|| self.namespace.to_owned()),
            ..ResourceAttributes::default()
        };
        let params = PostParams::default();
        let status = if is_agent {
            let spec = SelfSubjectAccessReviewSpec {
                resource_attributes: Some(asked),
                ..SelfSubjectAccessReviewSpec::default()
            };
            let review = SelfSubjectAccessReview { spec, ..SelfSubjectAccessReview::default() };
            let api: Api<SelfSubjectAccessReview> = Api::all(self.client.clone());
            api.create(&params, &review).await.map(|review| review.status)
        } else {
            let spec = SubjectAccessReviewSpec {
                resource_attributes: Some(asked),
                user: Some(agent.to_owned()),
                ..SubjectAccessReviewSpec::default()
            };
            let review = SubjectAccessReview { spec, ..SubjectAccessReview::default() };
            let api: Api<SubjectAccessReview> = Api::all(self.client.clone());
            api.create(&params, &review).await.map(|review| review.status)
        };
        status.map(|status| status.is_some_and(|status| status.allowed)).map_err(|error| chain(&error))
    }

    /// The `OpenAPI` document of a group and version; `None` if there is no such group.
    async fn document(&self, group: &str) -> Result<Option<Value>, String> {
        let path = format!("/openapi/v3/apis/{group}");
        let request = Request::get(path).body(Vec::new()).map_err(|error| error.to_string())?;
        match self.client.request::<Value>(request).await {
            Ok(document) => Ok(Some(document)),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
            Err(error) => Err(chain(&error)),
        }
    }

    async fn policy(&self, is_agent: bool) -> Check {
        const CHECK: &str = "admission policy";
        let remedy = "kubectl apply -f manifests/policy.yaml";
        if is_agent {
            return match policy::ask(self.client, self.node).await {
                Standing::Enforced => Check::ok(CHECK, "refuses what is not this switch's"),
                Standing::Absent => Check::warn(CHECK, "this token may write other Nodes", remedy),
                Standing::Unknown(why) => Check::blind(CHECK, why, ADMIN),
            };
        }
        let api: Api<ValidatingAdmissionPolicyBinding> = Api::all(self.client.clone());
        let mut missing = Vec::new();
        for name in BINDINGS {
            match api.get_metadata_opt(name).await {
                Ok(Some(_)) => {}
                Ok(None) => missing.push(name),
                Err(error) => return Check::blind(CHECK, chain(&error), ADMIN),
            }
        }
        if missing.is_empty() {
            return Check::ok(CHECK, format!("{} bindings", BINDINGS.len()));
        }
        Check::warn(CHECK, format!("not there: {}", missing.join(", ")), remedy)
    }

    /// The Switch, and the ConfigMaps that it names.
    async fn switch(&self) -> Vec<Check> {
        let Self { client, namespace, node } = self;
        let gvk = GroupVersionKind::gvk("switchlet.io", "v1alpha1", "Switch");
        let resource = ApiResource::from_gvk_with_plural(&gvk, "switches");
        let api: Api<DynamicObject> = Api::namespaced_with((*client).clone(), namespace, &resource);
        let check = format!("Switch {namespace}/{node}");
        let switch = match api.get(node).await {
            Ok(switch) => switch,
            // The kind may be unknown too, which is told elsewhere.
            Err(kube::Error::Api(status)) if status.code == 404 => {
                let remedy = "commit one, with the name of the Node (overlays/ has examples)";
                return vec![Check::fail(check, "there is none", remedy)];
            }
            Err(error) => return vec![Check::blind(check, chain(&error), ADMIN)],
        };
        let maps: Vec<String> = switch
            .data
            .pointer("/spec/configMaps")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(|map| map["name"].as_str().map(str::to_owned))
            .collect();
        let mut checks = vec![Check::ok(check, format!("names its ConfigMaps ({})", maps.len()))];
        let api: Api<ConfigMap> = Api::namespaced((*client).clone(), namespace);
        for map in maps {
            let check = format!("ConfigMap {namespace}/{map}");
            checks.push(match api.get_metadata_opt(&map).await {
                Ok(Some(_)) => Check::ok(check, "is there"),
                Ok(None) => Check::fail(
                    check,
                    "is not there",
                    "is the nameReference of the overlay missing, or was it not applied?",
                ),
                Err(error) => Check::blind(check, chain(&error), ADMIN),
            });
        }
        checks
    }

    /// The Node, and what runs on it.
    async fn placement(&self) -> Vec<Check> {
        let nodes: Api<Node> = Api::all(self.client.clone());
        let check = format!("Node {}", self.node);
        let node = match nodes.get_opt(self.node).await {
            Ok(Some(node)) => node,
            Ok(None) => {
                return vec![Check::fail(
                    check,
                    "there is none",
                    "does kubelet run on the switch? --node NAME",
                )];
            }
            Err(error) => return vec![Check::blind(check, chain(&error), ADMIN)],
        };
        let taints: Vec<Taint> = node
            .spec
            .and_then(|spec| spec.taints)
            .unwrap_or_default()
            .into_iter()
            .map(|taint| Taint { key: taint.key, effect: taint.effect })
            .collect();
        let labels = node.metadata.labels.unwrap_or_default();
        let is_switch = labels.get("switchlet.io/switch").is_some_and(|value| value == "true");
        let mut checks = vec![Check::ok(check, "is there")];
        checks.extend(preflight::tainted(&taints, is_switch));
        let pods: Api<Pod> = Api::all(self.client.clone());
        let here = ListParams::default().fields(&format!("spec.nodeName={}", self.node)).limit(500);
        checks.push(match pods.list_metadata(&here).await {
            Ok(pods) => {
                let name = |pod: &kube::core::PartialObjectMeta<Pod>| {
                    let metadata = &pod.metadata;
                    let part = |text: &Option<String>| text.clone().unwrap_or_default();
                    format!("{}/{}", part(&metadata.namespace), part(&metadata.name))
                };
                preflight::strangers(&pods.items.iter().map(name).collect::<Vec<_>>())
            }
            Err(error) => Check::blind("pods on the Node", chain(&error), ADMIN),
        });
        checks
    }
}

/// `Sat, 28 Nov 2026 06:03:43 GMT`.
fn http_date(text: &str) -> Option<Timestamp> {
    let parsed = jiff::fmt::strtime::parse("%a, %d %b %Y %H:%M:%S GMT", text).ok()?;
    let civil: DateTime = parsed.to_datetime().ok()?;
    civil.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_read_as_servers_write_it() {
        let read = http_date("Sat, 28 Nov 2026 06:03:43 GMT").map(|at| at.to_string());
        assert_eq!(read.as_deref(), Some("2026-11-28T06:03:43Z"));
        assert_eq!(http_date("yesterday"), None);
    }
}
