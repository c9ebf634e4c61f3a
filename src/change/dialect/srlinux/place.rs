//! Where in a person's text a path is, for messages.

/// The line of `text` in which `path` (as [`show`](super::tree::show) writes it, or the name of a node alone) is said, from 1; as
/// far as it can be followed, by names and keys in their order. A guess where a list stands there twice.
pub fn line_of(text: &str, path: &str) -> usize {
    let mut at = 0;
    for word in words(path) {
        // With its module in front or without; a key that is a number has no quotes.
        let said = [format!("\"{word}\""), format!(":{word}\""), format!(": {word}")];
        let next = said.iter().filter_map(|said| text[at..].find(said.as_str())).min();
        at += next.unwrap_or_default();
    }
    text[..at].matches('\n').count() + 1
}

/// Names and values of keys, in their order. Values may have slashes.
fn words(path: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let mut rest = path;
    while let Some(begin) = rest.find(|c| !matches!(c, '/' | ']')) {
        rest = &rest[begin..];
        let (word, after) = match rest.strip_prefix('[') {
            Some(key) => {
                let key = key.split_once('=').map_or(key, |(_, value)| value);
                key.split_at(key.find(']').unwrap_or(key.len()))
            }
            None => rest.split_at(rest.find(['/', '[']).unwrap_or(rest.len())),
        };
        words.push(word);
        rest = after;
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_found_in_its_line() {
        let text = r#"{
  "srl_nokia-network-instance:network-instance": [
    {"name": "other", "ip-load-balancing": {}},
    {
      "name": "red",
      "ip-load-balancing": {"resilient-hash-prefix": [
        {"ip-prefix": "1.1.1.0/24", "max-paths": 6},
        {"ip-prefix": "1.1.2.1/24",
         "max-paths": 65}
      ]},
      "interface": [{"subinterface": [{"index": 7, "ipv4": {}}]}]
    }
  ]
}"#;
        let red = "/network-instance[name=red]";
        for (path, line) in [
            (red.to_owned(), 5),
            (format!("{red}/ip-load-balancing"), 6),
            (format!("{red}/ip-load-balancing/resilient-hash-prefix[ip-prefix=1.1.2.1/24]"), 8),
            (format!("{red}/ip-load-balancing/resilient-hash-prefix[ip-prefix=1.1.2.1/24]/max-paths"), 9),
            (format!("{red}/interface/subinterface[index=7]/ipv4"), 11),
            ("max-paths".to_owned(), 7),
            ("/nothing/of/it".to_owned(), 1),
            (String::new(), 1),
        ] {
            assert_eq!(line_of(text, &path), line, "{path}");
        }
    }
}
