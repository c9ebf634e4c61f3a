#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use super::*;
use tokio::net::UnixListener;

/// A daemon that answers each command with the next of `answers`, in pieces; then it keeps silent.
async fn daemon(answers: Vec<Vec<Vec<u8>>>) -> (tempfile::TempDir, Vty) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("test.vty");
    let listener = UnixListener::bind(&path).unwrap();
    tokio::spawn(async move {
        let (mut peer, _) = listener.accept().await.unwrap();
        for pieces in answers {
            while peer.read_u8().await.unwrap() != 0 {}
            for piece in pieces {
                peer.write_all(&piece).await.unwrap();
                peer.flush().await.unwrap();
                tokio::task::yield_now().await;
            }
        }
        std::future::pending::<()>().await;
    });
    let vty = Vty::open(&path, Duration::from_millis(200)).await.unwrap();
    (dir, vty)
}

#[tokio::test]
async fn an_answer_is_read_to_its_end_wherever_it_is_cut() {
    let whole = b"{\n}\n\0\0\0\0".to_vec();
    for cut in 0..whole.len() {
        let pieces = vec![whole[..cut].to_vec(), whole[cut..].to_vec()];
        let (_dir, mut vty) =
            daemon(vec![pieces.clone(), vec![b"% Unknown command\0\0\0\x02".to_vec()]]).await;
        assert_eq!(vty.ask("show").await.unwrap(), Reply { text: "{\n}\n".into(), code: 0 });
        let refused = vty.ask("nonsense").await.unwrap();
        assert_eq!((refused.code, refused.is_success()), (2, false));
    }
}

#[tokio::test]
async fn a_silent_daemon_is_an_error_in_time_and_its_connection_is_spent() {
    let (_dir, mut vty) = daemon(vec![vec![b"half an answer\0\0".to_vec()]]).await;
    let start = std::time::Instant::now();
    assert_eq!(vty.ask("show").await.unwrap_err().kind(), io::ErrorKind::TimedOut);
    assert!(start.elapsed() < Duration::from_secs(1));
    assert!(!vty.is_usable());
    assert_eq!(vty.ask("show").await.unwrap_err().kind(), io::ErrorKind::NotConnected);
}

#[tokio::test]
async fn an_abandoned_command_spends_the_connection() {
    let (_dir, mut vty) = daemon(vec![vec![]]).await;
    assert!(timeout(Duration::from_millis(10), vty.ask("show")).await.is_err());
    assert!(!vty.is_usable());
}

#[tokio::test]
async fn a_missing_socket_and_a_command_of_two_lines_are_refused() {
    let error = Vty::open(Path::new("/nonexistent/bgpd.vty"), CONNECT).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
    let (_dir, mut vty) = daemon(vec![]).await;
    for command in ["show\0configure", "show\nconfigure"] {
        assert_eq!(vty.ask(command).await.unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
    assert!(vty.is_usable());
}

#[test]
fn sockets_are_found_with_and_without_an_instance() {
    let run = Path::new("/var/run");
    assert_eq!(Daemon::Bgpd.socket(run, None), Path::new("/var/run/frr/bgpd.vty"));
    assert_eq!(Daemon::Zebra.socket(run, Some("leaf")), Path::new("/var/run/frr/leaf/zebra.vty"));
}
