//! `kubectl get KIND NAME -n NAMESPACE` as a request: kubectl takes ten times the processor, and tests ask all the time.

/// The path of what `kubectl get` would be asked for with these words; `None` where that takes kubectl itself.
pub fn path(words: &[&str]) -> Option<String> {
    let (kind, rest) = words.split_first()?;
    let (group, plural) = match *kind {
        "node" | "nodes" => ("/api/v1", "nodes"),
        "pod" | "pods" => ("/api/v1", "pods"),
        "service" | "services" => ("/api/v1", "services"),
        "switch" | "switches" => ("/apis/switchlet.io/v1alpha1", "switches"),
        "kustomization" => ("/apis/kustomize.toolkit.fluxcd.io/v1", "kustomizations"),
        _ => return None,
    };
    let (name, rest) = match rest {
        [name, rest @ ..] if !name.starts_with('-') => (Some(name), rest),
        rest => (None, rest),
    };
    let (namespace, selector) = match rest {
        [] if plural == "nodes" => (None, None),
        [] => (Some("default"), None),
        ["-n", namespace] => (Some(*namespace), None),
        ["-n", namespace, "--field-selector", selector] => (Some(*namespace), Some(selector)),
        _ => return None,
    };
    let namespace = namespace.map(|namespace| format!("/namespaces/{namespace}")).unwrap_or_default();
    let name = name.map(|name| format!("/{name}")).unwrap_or_default();
    let query = selector.map(|selector| format!("?fieldSelector={}", selector.replace('=', "%3D")));
    Some(format!("{group}{namespace}/{plural}{name}{}", query.unwrap_or_default()))
}
