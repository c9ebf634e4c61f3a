//! Where FRR's language has passwords.
//!
//! FRR prints them in clear, and people write them into literal files. Everything on our side of the driver holds
//! placeholders instead.

/// Words before a password, the longest first; what follows the words is one word, and the password.
const BEFORE: [&[&str]; 12] = [
    &["authentication", "message-digest", "key"],
    &["area-password", "clear"],
    &["area-password", "md5"],
    &["domain-password", "clear"],
    &["domain-password", "md5"],
    &["ip", "ospf", "authentication-key"],
    &["ip", "rip", "authentication", "string"],
    &["isis", "password", "clear"],
    &["isis", "password", "md5"],
    &["enable", "password"],
    &["key-string"],
    &["password"],
];

/// The byte range of the password in a configuration line, if the line has one.
pub fn find(line: &str) -> Option<std::ops::Range<usize>> {
    let words: Vec<(usize, &str)> = words(line).collect();
    let text = |at: usize| words.get(at).map(|(_, word)| *word);
    // `… message-digest-key ID md5 KEY`: a number stands between.
    let digest = (0..words.len())
        .find(|at| text(*at) == Some("message-digest-key") && text(at + 2) == Some("md5"))
        .map(|at| at + 3);
    let plain = BEFORE.iter().find_map(|before| {
        (0..words.len())
            .find(|at| before.iter().enumerate().all(|(offset, word)| text(at + offset) == Some(*word)))
            .map(|at| at + before.len())
    });
    let mut at = digest.or(plain)?;
    // `password 8 HASH`: of a password that is not in clear the hash is as good as secret.
    if text(at) == Some("8") && words.len() > at + 1 {
        at += 1;
    }
    let (start, _) = *words.get(at)?;
    let (last, word) = *words.last()?;
    Some(start..last + word.len())
}

/// `text` with `replace`'s answer in the place of each password.
pub fn conceal(text: &str, mut replace: impl FnMut(&str) -> String) -> String {
    let mut concealed = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        match find(line) {
            Some(range) => {
                concealed.push_str(&line[..range.start]);
                concealed.push_str(&replace(&line[range.clone()]));
                concealed.push_str(&line[range.end..]);
            }
            None => concealed.push_str(line),
        }
    }
    concealed
}

/// `text` with the values in the places of their placeholders.
pub fn reveal<'a>(text: &str, secrets: impl IntoIterator<Item = (&'a String, &'a String)>) -> String {
    secrets
        .into_iter()
        .fold(text.to_owned(), |text, (placeholder, value)| text.replace(placeholder.as_str(), value))
}

fn words(line: &str) -> impl Iterator<Item = (usize, &str)> {
    line.split_whitespace().map(move |word| (word.as_ptr() as usize - line.as_ptr() as usize, word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_found_where_frr_has_them() {
        for (line, secret) in [
            (" neighbor 10.0.0.1 password s3cret", Some("s3cret")),
            (" neighbor SWITCHLET-SPEAKERS password s3cret\n", Some("s3cret")),
            ("password zebra", Some("zebra")),
            ("enable password 8 h4sh", Some("h4sh")),
            (" ip ospf message-digest-key 1 md5 s3cret", Some("s3cret")),
            (" ip ospf authentication-key s3cret", Some("s3cret")),
            ("  key-string a b", Some("a b")),
            (" neighbor 10.0.0.1 description password", None),
            ("service password-encryption", None),
            (" neighbor 10.0.0.1 remote-as 65001", None),
        ] {
            assert_eq!(find(line).map(|range| &line[range]), secret, "{line}");
        }
        let text = "a\n neighbor X password p1\n!\npassword p1";
        assert_eq!(conceal(text, |_| "<x>".to_owned()), "a\n neighbor X password <x>\n!\npassword <x>");
    }
}
