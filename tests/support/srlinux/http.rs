//! HTTP/1.1, one request a connection: over a unix socket, or TLS on 127.0.0.1.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::Value;

use super::{Listen, Switch, rpc};

type Login = Option<(String, String)>;

pub fn listen(
    folder: &Path,
    listen: Listen,
    switch: &Arc<Mutex<Switch>>,
    stop: &Arc<AtomicBool>,
    login: Login,
) -> Option<u16> {
    let (switch, stop) = (Arc::clone(switch), Arc::clone(stop));
    match listen {
        Listen::Unix => {
            let socket = UnixListener::bind(folder.join("json-rpc.sock")).unwrap();
            socket.set_nonblocking(true).unwrap();
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    match socket.accept() {
                        Ok((stream, _)) => {
                            stream.set_nonblocking(false).unwrap();
                            let (switch, login) = (Arc::clone(&switch), login.clone());
                            std::thread::spawn(move || serve(stream, &switch, login.as_ref()));
                        }
                        Err(_) => std::thread::sleep(Duration::from_millis(1)),
                    }
                }
            });
            None
        }
        Listen::Tls => {
            let config = Arc::new(certified(folder));
            let socket = TcpListener::bind("127.0.0.1:0").unwrap();
            let port = socket.local_addr().unwrap().port();
            socket.set_nonblocking(true).unwrap();
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    match socket.accept() {
                        Ok((stream, _)) => {
                            stream.set_nonblocking(false).unwrap();
                            let (switch, login) = (Arc::clone(&switch), login.clone());
                            let config = Arc::clone(&config);
                            std::thread::spawn(move || {
                                let connection = rustls::ServerConnection::new(config).unwrap();
                                serve(rustls::StreamOwned::new(connection, stream), &switch, login.as_ref());
                            });
                        }
                        Err(_) => std::thread::sleep(Duration::from_millis(1)),
                    }
                }
            });
            Some(port)
        }
    }
}

/// An authority and a certificate for localhost, made by openssl.
fn certified(folder: &Path) -> rustls::ServerConfig {
    let openssl = |args: &[&str]| {
        let status =
            Command::new("openssl").args(args).current_dir(folder).stderr(Stdio::null()).status().unwrap();
        assert!(status.success(), "openssl {args:?}");
    };
    let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
    let authority =
        ["req", "-x509", "-subj", "/CN=test authority", "-days", "2", "-keyout", "ca.key", "-out", "ca.pem"];
    openssl(&[&authority[..], &key[..]].concat());
    let request = [
        "req",
        "-subj",
        "/CN=localhost",
        "-addext",
        "subjectAltName=DNS:localhost",
        "-keyout",
        "box.key",
        "-out",
        "box.csr",
    ];
    openssl(&[&request[..], &key[..]].concat());
    openssl(&[
        "x509",
        "-req",
        "-in",
        "box.csr",
        "-CA",
        "ca.pem",
        "-CAkey",
        "ca.key",
        "-CAcreateserial",
        "-days",
        "2",
        "-copy_extensions",
        "copyall",
        "-out",
        "box.pem",
    ]);
    let chain = CertificateDer::pem_file_iter(folder.join("box.pem")).unwrap().map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_file(folder.join("box.key")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config =
        rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    config.with_no_client_auth().with_single_cert(chain, key).unwrap()
}

fn serve(stream: impl Read + Write, switch: &Mutex<Switch>, login: Option<&(String, String)>) {
    let mut stream = BufReader::new(stream);
    let Some((head, body)) = request(&mut stream) else { return };
    let (slow, cut) = {
        let mut switch = switch.lock().unwrap();
        let cut = switch.knobs.drop_before > 0;
        switch.knobs.drop_before = switch.knobs.drop_before.saturating_sub(1);
        (switch.knobs.slow, cut)
    };
    std::thread::sleep(slow);
    if cut {
        return;
    }
    let mut answer = |status: &str, text: &str| {
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            text.len()
        );
        let stream = stream.get_mut();
        drop(stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(text.as_bytes())));
        drop(stream.flush());
    };
    if let Some((user, password)) = login {
        let expected = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
        if !head.iter().any(|line| line.eq_ignore_ascii_case(&format!("authorization: Basic {expected}"))) {
            return answer("401 Unauthorized", "{}");
        }
    }
    if head[0].starts_with("GET /inspect ") {
        let switch = switch.lock().unwrap();
        let commits: Vec<Value> =
            switch.commits.iter().map(|c| serde_json::json!({"id": c.id, "status": c.status})).collect();
        let all =
            serde_json::json!({"running": switch.running, "startup": switch.startup, "commits": commits});
        return answer("200 OK", &all.to_string());
    }
    if !head[0].starts_with("POST /jsonrpc ") {
        return answer("404 Not Found", "{}");
    }
    let Ok(asked) = serde_json::from_slice::<Value>(&body) else {
        return answer("200 OK", r#"{"error":{"code":-32700,"message":"Parse error"}}"#);
    };
    if switch.lock().unwrap().is_overtaken(&asked) {
        return;
    }
    let said = rpc::answer(switch, &asked);
    let cut = {
        let mut switch = switch.lock().unwrap();
        let named = switch.knobs.drop_after_method.as_ref().is_some_and(|method| asked["method"] == **method);
        if named {
            switch.knobs.drop_after_method = None;
        }
        let accepts = asked["params"]["commands"][0]["path"] == "/system/configuration/confirmed-accept";
        let unheard = accepts && std::mem::take(&mut switch.knobs.accept_unheard);
        let cut = switch.knobs.drop_after > 0 || named || unheard;
        switch.knobs.drop_after = switch.knobs.drop_after.saturating_sub(1);
        cut
    };
    if !cut {
        answer("200 OK", &said);
    }
}

fn request(stream: &mut impl BufRead) -> Option<(Vec<String>, Vec<u8>)> {
    let mut head = Vec::new();
    let mut length = 0;
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let line = line.trim_end().to_owned();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        head.push(line);
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    (!head.is_empty()).then_some((head, body))
}
