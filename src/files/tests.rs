use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use super::objects::read_cluster;
use super::*;
use crate::intent::snapshot::ClusterFacts;

/// A folder that kubelet's `AtomicWriter` keeps: files behind `..data`, a link for each beside it.
struct Volume {
    folder: tempfile::TempDir,
    generation: u32,
}

impl Volume {
    fn with(files: &[(&str, &str)]) -> Self {
        let mut volume = Self { folder: tempfile::tempdir().unwrap(), generation: 0 };
        volume.swap(files);
        for (name, _) in files {
            volume.link(name);
        }
        volume
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a new content and turns `..data` to it; the links for people come later. Returns the old content's folder.
    fn swap(&mut self, files: &[(&str, &str)]) -> Option<PathBuf> {
        let old = fs::read_link(self.path().join("..data")).ok().map(|old| self.path().join(old));
        self.generation += 1;
        let name = format!("..2026_01_01.{}", self.generation);
        fs::create_dir(self.path().join(&name)).unwrap();
        for (file, text) in files {
            fs::write(self.path().join(&name).join(file), text).unwrap();
        }
        symlink(&name, self.path().join("..data_tmp")).unwrap();
        fs::rename(self.path().join("..data_tmp"), self.path().join("..data")).unwrap();
        old
    }

    fn link(&self, name: &str) {
        symlink(Path::new("..data").join(name), self.path().join(name)).unwrap();
    }

    fn reads(&self, expected: &[(&str, &str)]) {
        let (bundle, issues) = read_bundle(self.path()).unwrap();
        assert_eq!(issues, []);
        let read: Vec<(&str, &str)> =
            bundle.texts.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
        assert_eq!(read, expected);
    }
}

#[test]
fn a_new_key_is_read_before_its_link_exists() {
    let mut volume = Volume::with(&[("a", "1")]);
    volume.reads(&[("a", "1")]);
    volume.swap(&[("a", "2"), ("b", "1")]);
    volume.reads(&[("a", "2"), ("b", "1")]);
    volume.link("b");
    volume.reads(&[("a", "2"), ("b", "1")]);
}

#[test]
fn a_removed_key_is_gone_although_its_link_is_still_there() {
    let mut volume = Volume::with(&[("a", "1"), ("b", "1")]);
    volume.swap(&[("a", "1")]);
    assert!(fs::symlink_metadata(volume.path().join("b")).is_ok());
    volume.reads(&[("a", "1")]);
}

#[test]
fn content_that_is_being_removed_while_it_is_read_is_read_again() {
    let mut volume = Volume::with(&[("a", "1"), ("b", "1")]);
    let folder = volume.path().to_owned();
    let mut readings = 0;
    let (bundle, _) = at_one_moment(&folder, |behind| {
        readings += 1;
        if readings == 1 {
            let old = volume.swap(&[("a", "2"), ("b", "2")]).unwrap();
            fs::remove_file(old.join("b")).unwrap();
        }
        read_texts(behind)
    })
    .unwrap();
    assert_eq!(readings, 2);
    assert_eq!(bundle.texts.len(), 2, "never half of the old content");
    assert!(bundle.texts.values().all(|text| text == "2"));
}

#[test]
fn a_volume_that_never_rests_is_an_error_and_not_a_guess() {
    let mut volume = Volume::with(&[("a", "1")]);
    let folder = volume.path().to_owned();
    let result = at_one_moment(&folder, |behind| {
        volume.swap(&[("a", "2")]);
        read_texts(behind)
    });
    assert!(result.is_err());
}

#[test]
fn a_plain_folder_is_read_without_hidden_files_and_subfolders() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("switch.yaml"), "x").unwrap();
    fs::write(folder.path().join(".swp"), "x").unwrap();
    fs::create_dir(folder.path().join("sub")).unwrap();
    let (bundle, issues) = read_bundle(folder.path()).unwrap();
    assert_eq!(bundle.texts.into_keys().collect::<Vec<_>>(), ["switch.yaml"]);
    assert_eq!(issues, []);
    assert!(read_bundle(&folder.path().join("nothing")).is_err(), "an absent folder is not an empty one");
}

#[test]
fn what_is_no_text_is_an_issue_with_its_name_and_the_rest_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let longest = "x".repeat(1 << 20);
    for (name, bytes) in [
        ("latin1", b"\xe9".as_slice()),
        ("nul", b"a\0b"),
        ("long", format!("{longest}x").as_bytes()),
        ("longest", longest.as_bytes()),
        ("good", b"g"),
    ] {
        fs::write(folder.path().join(name), bytes).unwrap();
    }
    let (bundle, mut issues) = read_bundle(folder.path()).unwrap();
    issues.sort();
    assert_eq!(bundle.texts.keys().collect::<Vec<_>>(), ["good", "longest"]);
    let said: Vec<(&str, &str)> =
        issues.iter().map(|issue| (issue.object.as_str(), issue.message.as_str())).collect();
    assert_eq!(
        said,
        [
            ("File latin1", "is not UTF-8"),
            ("File long", "is longer than 1 MiB"),
            ("File nul", "has a NUL byte in line 1")
        ]
    );
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn replacing_keeps_owner_and_mode_and_leaves_nothing_beside() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("frr.conf");
    fs::write(&path, "old").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o604)).unwrap();
    let root = nix::unistd::geteuid().is_root();
    if root {
        std::os::unix::fs::chown(&path, Some(92), Some(93)).unwrap();
    }
    fs::write(folder.path().join(".frr.conf.switchlet"), "left by a crash").unwrap();
    let before = fs::metadata(&path).unwrap();
    replace(&path, b"new").unwrap();
    let after = fs::metadata(&path).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"new");
    assert_eq!(after.mode() & 0o7777, 0o604);
    assert_eq!((after.uid(), after.gid()), (before.uid(), before.gid()));
    assert_ne!(after.ino(), before.ino(), "a reader of the old file keeps the old file");
    assert_eq!(names(folder.path()), ["frr.conf"]);
}

#[test]
fn a_new_file_is_closed_to_others() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("frr.conf");
    replace(&path, b"new").unwrap();
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o640);
    let private = folder.path().join("plan");
    fs::write(&private, "old").unwrap();
    write_private(&private, b"new").unwrap();
    assert_eq!(fs::metadata(&private).unwrap().mode() & 0o7777, 0o600);
    assert_eq!(fs::read(&private).unwrap(), b"new");
}

#[test]
fn what_cannot_be_replaced_stays_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("frr.conf");
    fs::write(&path, "old").unwrap();
    // Root may write into a read-only folder; something in the way stops everybody.
    fs::create_dir(folder.path().join(".frr.conf.switchlet")).unwrap();
    assert!(replace(&path, b"new").is_err());
    assert_eq!(fs::read(&path).unwrap(), b"old");

    let closed = tempfile::tempdir().unwrap();
    let path = closed.path().join("frr.conf");
    fs::write(&path, "old").unwrap();
    fs::set_permissions(closed.path(), fs::Permissions::from_mode(0o500)).unwrap();
    let result = replace(&path, b"new");
    fs::set_permissions(closed.path(), fs::Permissions::from_mode(0o700)).unwrap();
    assert_eq!(result.is_ok(), nix::unistd::geteuid().is_root());
    let expected: &[u8] = if result.is_ok() { b"new" } else { b"old" };
    assert_eq!(fs::read(&path).unwrap(), expected);
    assert_eq!(names(closed.path()), ["frr.conf"]);

    // The last step fails: a folder stands where the file should be.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("frr.conf");
    fs::create_dir(&path).unwrap();
    fs::write(path.join("x"), "x").unwrap();
    assert!(replace(&path, b"new").is_err());
    assert_eq!(names(folder.path()), ["frr.conf"], "no temporary file is left");
}

#[test]
fn a_secret_is_one_word_beneath_its_folder() {
    let volume = Volume::with(&[
        ("speakers", "s3cret\n"),
        ("bare", "s3cret"),
        ("crlf", "s3cret\r\n"),
        ("empty", ""),
        ("newline", "\n"),
        ("two-lines", "a\nb\n"),
        ("two-words", "a b"),
        ("control", "a\u{7}b"),
    ]);
    let folder = volume.path();
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("key"), "stolen").unwrap();
    symlink(outside.path().join("key"), folder.join("absolute")).unwrap();
    let up = Path::new("..").join(outside.path().file_name().unwrap()).join("key");
    assert!(folder.join(&up).exists(), "both folders lie side by side");
    symlink(&up, folder.join("up")).unwrap();
    symlink("/proc/self/environ", folder.join("magic")).unwrap();
    symlink("..data/speakers", folder.join("inside")).unwrap();
    symlink("loop", folder.join("loop")).unwrap();
    fs::write(folder.join("big"), "x".repeat(1 << 20)).unwrap();
    fs::write(folder.join("80"), "x".repeat(80) + "\r\n").unwrap();
    fs::write(folder.join("81"), "x".repeat(81)).unwrap();
    fs::write(folder.join("latin1"), b"\xe9").unwrap();
    fs::create_dir(folder.join("dir")).unwrap();
    nix::unistd::mkfifo(&folder.join("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();

    for good in ["speakers", "bare", "crlf", "inside", "..data/speakers"] {
        assert_eq!(secret::read(folder, good).unwrap(), "s3cret", "{good}");
    }
    assert_eq!(secret::read(folder, "80").unwrap().len(), 80);
    let absolute = folder.join("speakers");
    for bad in [
        "empty",
        "newline",
        "two-lines",
        "two-words",
        "control",
        "latin1",
        "big",
        "81",
        "dir",
        "fifo",
        "loop",
        "absolute",
        "up",
        "magic",
        "nothing",
        "",
        ".",
        "..",
        "a\0b",
        "/etc/passwd",
        "../key",
        absolute.to_str().unwrap(),
        up.to_str().unwrap(),
    ] {
        let error = secret::read(folder, bad).expect_err(bad).to_string();
        for content in ["stolen", "a b", "\u{7}", "xx"] {
            assert!(!error.contains(content), "{bad}: {error}");
        }
    }
}

#[test]
fn a_lock_is_held_by_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lock");
    let first = lock(&path).unwrap();
    assert_eq!(lock(&path).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    drop(first);
    lock(&path).unwrap();
}

fn cluster(files: &[(&str, &str)]) -> (ClusterFacts, Option<crate::intent::switch::SwitchObject>) {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    read_cluster(folder.path(), "leaf1").unwrap()
}

fn issues(facts: &ClusterFacts) -> Vec<String> {
    facts.issues.iter().map(|issue| format!("{}: {}", issue.object, issue.message)).collect()
}

const NODE: &str =
    "kind: Node\nmetadata: {name: w1}\nstatus: {addresses: [{type: InternalIP, address: 192.168.1.11}]}\n";
const SERVICE: &str = "\
kind: Service
metadata: {name: web, namespace: shop}
spec: {type: LoadBalancer}
status: {loadBalancer: {ingress: [{ip: 203.0.113.20}]}}
";

#[test]
fn a_bad_document_is_an_issue_with_its_place_and_the_others_go_on() {
    let text =
        format!("{NODE}---\n# nothing but a comment\n---\nkind: Node\nmetadata: {{name: w2\n---\n{SERVICE}");
    let (facts, _) = cluster(&[("all.yaml", &text), ("notes.txt", "kind: [")]);
    assert_eq!(facts.nodes.len(), 1);
    assert_eq!(facts.services.len(), 1);
    let issues = issues(&facts);
    assert_eq!(issues.len(), 1, "{issues:?}");
    // The document's first line is the stream's sixth; the parser sees the end of the mapping missing below it.
    let line: u32 = issues[0].split("all.yaml:").nth(2).unwrap().split(':').next().unwrap().parse().unwrap();
    assert!((6..=8).contains(&line), "{issues:?}");
}

#[test]
fn a_duplicate_key_is_refused_where_it_stands() {
    let (facts, _) = cluster(&[("n.yaml", "---\nkind: Node\nmetadata: {name: w1}\nkind: Node\n")]);
    assert!(facts.nodes.is_empty());
    assert_eq!(issues(&facts), ["File n.yaml: n.yaml:4:1: kind: duplicate key `kind`"]);
}

#[test]
fn an_object_that_makes_no_sense_is_an_issue_with_its_name() {
    let bad = SERVICE.replace("203.0.113.20", "nonsense");
    let typed = SERVICE.replace("{type: LoadBalancer}", "{type: [1]}").replace("web", "typed");
    let (facts, _) =
        cluster(&[("s.yaml", &format!("{bad}---\n{typed}---\n{SERVICE}---\n- 1\n---\nkind: 5\n"))]);
    assert_eq!(facts.services.len(), 1);
    let mut objects: Vec<&str> = facts.issues.iter().map(|issue| issue.object.as_str()).collect();
    objects.sort_unstable();
    assert_eq!(objects, ["File s.yaml", "File s.yaml", "Service shop/typed", "Service shop/web"]);
}

#[test]
fn a_name_that_no_object_can_have_is_refused_in_one_line() {
    let (facts, _) = cluster(&[(
        "all.yaml",
        "kind: Node\nmetadata: {name: \"worker-1\\nneighbor 10.0.0.1 shutdown\"}\n---\n\
         kind: Service\nmetadata: {name: web, namespace: \"a b\"}\n---\n\
         kind: Node\nmetadata: {name: worker-2}\n",
    )]);
    let said: Vec<&str> = facts.issues.iter().map(|issue| issue.message.as_str()).collect();
    assert_eq!(
        said,
        [
            "Node: metadata: \"worker-1\\nneighbor 10.0.0.1 shutdown\" is not a name (expected letters, digits, `-` and `.`, at most 253)",
            "Service: metadata: \"a b\" is not a name (expected letters, digits, `-` and `.`, at most 253)",
        ]
    );
    assert_eq!(facts.nodes.len(), 1, "the others go on");
}

#[test]
fn lists_are_read_whether_or_not_their_items_name_their_kind() {
    let list =
        "kind: List\nitems:\n- {kind: Node, metadata: {name: w1}}\n- {kind: Gadget, metadata: {name: g}}\n";
    let typed = "kind: NodeList\nitems:\n- metadata: {name: w2}\n";
    let (facts, _) = cluster(&[
        ("a.yaml", list),
        ("b.json", r#"{"kind": "NodeList", "items": [{"metadata": {"name": "w3"}}]}"#),
        ("sub/c.yml", typed),
    ]);
    let mut names: Vec<&str> = facts.nodes.iter().map(|node| node.name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["w1", "w2", "w3"]);
    assert_eq!(issues(&facts), Vec::<String>::new());
}

#[test]
fn every_switch_is_known_by_name_and_ours_with_its_spec() {
    let text = "--- # ours\nkind: Switch\nmetadata: {name: leaf1, generation: 7}\nspec: {nos: frr}\n--- {kind: Switch, metadata: {name: leaf2}}\n";
    let (facts, switch) = cluster(&[("s.yaml", text)]);
    assert_eq!(facts.switches.iter().collect::<Vec<_>>(), ["leaf1", "leaf2"]);
    let switch = switch.unwrap();
    assert_eq!((switch.metadata.generation, switch.spec.nos.as_deref()), (Some(7), Some("frr")));
    assert_eq!(issues(&facts), Vec::<String>::new());
}

#[test]
fn a_slice_belongs_to_the_service_of_its_label() {
    let slice = "kind: EndpointSlice\nmetadata: {name: web-1, namespace: shop, labels: {kubernetes.io/service-name: web}}\nendpoints: [{addresses: [10.0.0.1], nodeName: w1}]\n";
    let (facts, _) = cluster(&[("s.yaml", slice)]);
    assert_eq!(facts.slices[0].service.to_string(), "shop/web");
    assert!(facts.slices[0].any && facts.slices[0].nodes.contains("w1"));
}

#[test]
fn only_regular_files_are_read() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("n.yaml"), NODE).unwrap();
    nix::unistd::mkfifo(&folder.path().join("f.yaml"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    symlink("nowhere", folder.path().join("gone.yaml")).unwrap();
    symlink(".", folder.path().join("loop")).unwrap();
    let (facts, _) = read_cluster(folder.path(), "leaf1").unwrap();
    assert!(facts.nodes.iter().all(|node| node.name == "w1") && !facts.nodes.is_empty());
}
