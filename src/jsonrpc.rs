//! SR Linux's JSON-RPC: HTTP over a unix socket or TLS, one request a connection.
//!
//! The server closes the connection after each answer, puts errors into an answer with status 200, and gives `{}` for a path
//! that is absent. A read is repeated where nobody answered; a write never, unless not a byte of it was sent or the server
//! said that it is restarting: what became of it, only looking tells. Writes go one at a time.
#![expect(clippy::disallowed_methods, reason = "shell: sockets, files and a clock")]

use std::fmt;
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::{Mutex, mpsc};
use tokio::time::{Instant, timeout_at};

use crate::net::Backoff;

/// Between two tries of a read.
const RETRY: Backoff = Backoff { first: Duration::from_millis(200), longest: Duration::from_secs(2) };
/// A read is tried as often.
const TRIES: u32 = 3;
/// The longest answer that is kept whole, bytes. Tables are read as they come, and filtered.
const LONGEST: usize = 64 << 20;
/// The longest password file, bytes.
const PASSWORD: usize = 256;
/// Chunks of an answer that wait to be parsed.
const CHUNKS: usize = 8;

/// Where the server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A unix socket: `unix:PATH`.
    Unix(PathBuf),
    /// `https://HOST[:PORT]`.
    Https {
        /// Name or address.
        host: String,
        /// 443 unless said.
        port: u16,
    },
}

impl std::str::FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no address (expected unix:PATH or https://HOST[:PORT])");
        if let Some(path) = text.strip_prefix("unix:").filter(|path| path.starts_with('/')) {
            return Ok(Self::Unix(path.into()));
        }
        let rest =
            text.strip_prefix("https:").ok_or_else(wrong)?.trim_start_matches("//").trim_end_matches('/');
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port.parse().map_err(|_| wrong())?),
            _ => (rest, 443),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() || host.contains(['/', '@']) {
            return Err(wrong());
        }
        Ok(Self::Https { host: host.to_owned(), port })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Https { host, port } => write!(f, "https://{host}:{port}"),
        }
    }
}

/// Who we are to the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// User.
    pub user: String,
    /// File whose first line is the password; read for every request, so that it may change.
    pub password_file: PathBuf,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody answered.
    #[error("{what}")]
    Unreachable {
        /// What was tried.
        what: String,
        /// The operating system's word.
        #[source]
        source: io::Error,
        /// Whether anything may have been sent.
        sent: Sent,
    },
    /// It is restarting, and has done nothing.
    #[error("{0}")]
    Restarting(String),
    /// It answered, and refused.
    #[error("{0}")]
    Refused(String),
    /// It does not know us.
    #[error("the switch refuses the login (HTTP {0})")]
    Login(u16),
    /// The answer has not the documented form.
    #[error("the answer is not understood: {0}")]
    Malformed(String),
}

/// Whether a request may have reached the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// Not a byte of it.
    No,
    /// Perhaps all of it.
    Perhaps,
}

/// One server. A clone speaks to the same one, and writes one at a time with it.
#[derive(Clone)]
pub struct Server {
    address: Address,
    login: Option<Login>,
    tls: Option<Arc<rustls::ClientConfig>>,
    writing: Arc<Mutex<()>>,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("address", &self.address).finish_non_exhaustive()
    }
}

/// What a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    Read,
    Write,
}

#[derive(Deserialize)]
struct Envelope<T> {
    result: Option<Vec<T>>,
    error: Option<Complaint>,
}

/// `code` is not always there, `message` is.
#[derive(Deserialize)]
struct Complaint {
    #[serde(default)]
    message: String,
}

impl Server {
    /// A server; nothing is opened before it is used. `ca` is the PEM text of the only authority that its certificate may come
    /// from; TLS without one is refused.
    pub fn new(address: Address, login: Option<Login>, ca: Option<&[u8]>) -> Result<Self, String> {
        let tls = match (&address, ca) {
            (Address::Unix(_), _) => None,
            (Address::Https { .. }, None) => {
                return Err("https needs the certificate authority of the switch (--nos-ca FILE)".to_owned());
            }
            (Address::Https { .. }, Some(pem)) => Some(Arc::new(trusting(pem)?)),
        };
        Ok(Self { address, login, tls, writing: Arc::default() })
    }

    /// `get` of `paths` from a datastore: one answer a path, `{}` where nothing is there.
    pub async fn get<T: DeserializeOwned + Send + 'static>(
        &self,
        datastore: &str,
        paths: impl IntoIterator<Item = String>,
        deadline: Duration,
    ) -> Result<Vec<T>, Error> {
        let commands: Vec<Value> = paths.into_iter().map(|path| json!({"path": path})).collect();
        let wanted = commands.len();
        let params = json!({"datastore": datastore, "commands": commands});
        let answers: Vec<T> = self.call("get", params, Manner::Read, deadline).await?;
        if answers.len() != wanted {
            return Err(Error::Malformed(format!("{} answers to {wanted} paths", answers.len())));
        }
        Ok(answers)
    }

    /// As [`Self::get`] of one path, with an answer that may be large: `parse` reads it as it comes, on a thread of its own.
    pub async fn stream<T: Send + 'static>(
        &self,
        datastore: &str,
        path: &str,
        deadline: Duration,
        parse: impl FnOnce(&mut dyn Read) -> Result<T, serde_json::Error> + Send + 'static,
    ) -> Result<T, Error> {
        let until = Instant::now() + deadline;
        let request = request("get", &json!({"datastore": datastore, "commands": [{"path": path}]}));
        let mut body = self.send(request, until).await?;
        let (give, take) = mpsc::channel(CHUNKS);
        let parsing = tokio::task::spawn_blocking(move || parse(&mut Chunks { take, left: Bytes::new() }));
        let feeding = async {
            while let Some(frame) = body.frame().await {
                let frame = frame.map_err(|error| Error::Malformed(error.to_string()))?;
                if let Ok(bytes) = frame.into_data()
                    && give.send(bytes).await.is_err()
                {
                    break;
                }
            }
            drop(give);
            Ok::<_, Error>(())
        };
        let both = async {
            feeding.await?;
            let parsed = parsing.await.map_err(|error| Error::Malformed(error.to_string()))?;
            parsed.map_err(|error| Error::Malformed(error.to_string()))
        };
        timeout_at(until, both).await.map_err(|_| self.silent(Sent::No))?
    }

    /// `set`, `validate`, `diff` or `cli`: never repeated once it may have arrived.
    pub async fn write(&self, method: &str, params: Value, deadline: Duration) -> Result<Vec<Value>, Error> {
        let _one = self.writing.lock().await;
        self.call(method, params, Manner::Write, deadline).await
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: &str,
        params: Value,
        manner: Manner,
        deadline: Duration,
    ) -> Result<Vec<T>, Error> {
        let until = Instant::now() + deadline;
        let request = request(method, &params);
        let mut attempt = 0;
        loop {
            let error = match self.once(request.clone(), until).await {
                Ok(answers) => return Ok(answers),
                Err(error) => error,
            };
            attempt += 1;
            let again = match &error {
                Error::Restarting(_) | Error::Unreachable { sent: Sent::No, .. } => true,
                Error::Unreachable { .. } => manner == Manner::Read,
                _ => false,
            };
            let pause = RETRY.wait(attempt - 1, u64::from(std::process::id()));
            if !again || attempt >= TRIES || Instant::now() + pause >= until {
                return Err(error);
            }
            tokio::time::sleep(pause).await;
        }
    }

    async fn once<T: DeserializeOwned>(&self, request: Bytes, until: Instant) -> Result<Vec<T>, Error> {
        let body = self.send(request, until).await?;
        let collected = http_body_util::Limited::new(body, LONGEST).collect();
        let bytes = timeout_at(until, collected).await.map_err(|_| self.silent(Sent::Perhaps))?;
        let bytes = bytes.map_err(|error| self.broken(&error.to_string()))?.to_bytes();
        answers(&bytes)
    }

    fn silent(&self, sent: Sent) -> Error {
        let source = io::ErrorKind::TimedOut.into();
        Error::Unreachable { what: format!("the switch does not answer at {}", self.address), source, sent }
    }

    fn broken(&self, why: &str) -> Error {
        let source = io::Error::other(why.to_owned());
        Error::Unreachable {
            what: format!("the answer from {} broke off", self.address),
            source,
            sent: Sent::Perhaps,
        }
    }

    /// Sends a request; the answer's body once its head has come.
    async fn send(&self, body: Bytes, until: Instant) -> Result<Incoming, Error> {
        let failed = |source| Error::Unreachable {
            what: format!("the switch cannot be reached at {}", self.address),
            source,
            sent: Sent::No,
        };
        let mut request = http::Request::post("/jsonrpc")
            .header(
                "host",
                match &self.address {
                    Address::Unix(_) => "localhost",
                    Address::Https { host, .. } => host,
                },
            )
            .header("connection", "close")
            .header("content-type", "application/json");
        if let Some(login) = &self.login {
            request = request.header("authorization", login.header().map_err(failed)?);
        }
        let request = request
            .body(Full::new(body))
            .map_err(|error| Error::Malformed(format!("the request cannot be written: {error}")))?;
        let connecting = async {
            match (&self.address, &self.tls) {
                (Address::Unix(path), _) => Ok(Wire::Plain(UnixStream::connect(path).await?)),
                (Address::Https { host, port }, Some(tls)) => {
                    let name = ServerName::try_from(host.clone()).map_err(io::Error::other)?;
                    let stream = TcpStream::connect((host.as_str(), *port)).await?;
                    let tls = tokio_rustls::TlsConnector::from(Arc::clone(tls)).connect(name, stream).await?;
                    Ok(Wire::Tls(Box::new(tls)))
                }
                (Address::Https { .. }, None) => Err(io::ErrorKind::Unsupported.into()),
            }
        };
        let wire = timeout_at(until, connecting).await.map_err(|_| self.silent(Sent::No))?.map_err(failed)?;
        let response = match wire {
            Wire::Plain(stream) => timeout_at(until, exchange(stream, request)).await,
            Wire::Tls(stream) => timeout_at(until, exchange(*stream, request)).await,
        };
        let response = response.map_err(|_| self.silent(Sent::Perhaps))?;
        let response = response.map_err(|error| self.broken(&error.to_string()))?;
        match response.status().as_u16() {
            200 => Ok(response.into_body()),
            status @ (401 | 403) => Err(Error::Login(status)),
            status @ (502..=504 | 429) => Err(Error::Restarting(format!("the server said HTTP {status}"))),
            status => Err(Error::Refused(format!("the server said HTTP {status}"))),
        }
    }
}

enum Wire {
    Plain(UnixStream),
    Tls(Box<tokio_rustls::client::TlsStream<TcpStream>>),
}

async fn exchange<S>(
    stream: S,
    request: http::Request<Full<Bytes>>,
) -> Result<http::Response<Incoming>, hyper::Error>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    // Ends with the connection, which the server closes; an error shows itself in the answer.
    tokio::spawn(async move { drop(connection.await) });
    sender.send_request(request).await
}

impl Login {
    fn header(&self) -> io::Result<String> {
        let mut text = String::new();
        std::fs::File::open(&self.password_file)?.take(PASSWORD as u64).read_to_string(&mut text)?;
        let password = text.lines().next().unwrap_or_default();
        Ok(format!("Basic {}", BASE64.encode(format!("{}:{password}", self.user))))
    }
}

fn request(method: &str, params: &Value) -> Bytes {
    Bytes::from(json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string())
}

fn answers<T: DeserializeOwned>(bytes: &[u8]) -> Result<Vec<T>, Error> {
    let envelope: Envelope<T> = match serde_json::from_slice(bytes) {
        Ok(envelope) => envelope,
        // The form of the results depends on the question; the error's does not.
        Err(error) => match serde_json::from_slice::<Envelope<serde::de::IgnoredAny>>(bytes) {
            Ok(Envelope { error: Some(Complaint { message }), .. }) => return Err(refused(&message)),
            _ => return Err(Error::Malformed(error.to_string())),
        },
    };
    match envelope {
        Envelope { error: Some(Complaint { message }), .. } => Err(refused(&message)),
        Envelope { result: Some(answers), .. } => Ok(answers),
        Envelope { .. } => Err(Error::Malformed("neither result nor error".to_owned())),
    }
}

/// Words of the server, which may repeat what somebody typed.
fn refused(message: &str) -> Error {
    let message: String = message.chars().filter(|c| !c.is_control()).take(1000).collect();
    if message.contains("restarting") { Error::Restarting(message) } else { Error::Refused(message) }
}

fn trusting(pem: &[u8]) -> Result<rustls::ClientConfig, String> {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| format!("is no PEM: {error}"))?;
        roots.add(certificate).map_err(|error| format!("is no certificate: {error}"))?;
    }
    if roots.is_empty() {
        return Err("has no certificate (expected PEM)".to_owned());
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

/// An answer as it comes, for a parser that waits.
struct Chunks {
    take: mpsc::Receiver<Bytes>,
    left: Bytes,
}

impl Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.left.is_empty() {
            match self.take.blocking_recv() {
                Some(bytes) => self.left = bytes,
                None => return Ok(0),
            }
        }
        let length = self.left.len().min(buffer.len());
        buffer[..length].copy_from_slice(&self.left.split_to(length));
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_unix_or_https() {
        let parse = |text: &str| text.parse::<Address>();
        assert_eq!(parse("unix:/run/x").unwrap(), Address::Unix("/run/x".into()));
        assert_eq!(parse("https://leaf1").unwrap(), Address::Https { host: "leaf1".to_owned(), port: 443 });
        assert_eq!(parse("https:10.0.0.1:8443").unwrap().to_string(), "https://10.0.0.1:8443");
        assert_eq!(
            parse("https://[fd00::1]:444/").unwrap(),
            Address::Https { host: "fd00::1".to_owned(), port: 444 }
        );
        for wrong in ["http://leaf1", "unix:relative", "https://", "https://a:b", "https://u@h", ""] {
            assert!(
                parse(wrong).unwrap_err().contains("expected unix:PATH or https://HOST[:PORT]"),
                "{wrong}"
            );
        }
    }

    #[test]
    fn tls_is_never_unverified() {
        let address: Address = "https://leaf1".parse().unwrap();
        assert!(Server::new(address.clone(), None, None).unwrap_err().contains("--nos-ca"));
        assert!(
            Server::new(address.clone(), None, Some(b"nonsense")).unwrap_err().contains("no certificate")
        );
    }

    #[test]
    fn errors_come_with_status_200() {
        let said = |text: &str| answers::<Value>(text.as_bytes()).unwrap_err();
        assert!(
            matches!(said(r#"{"error":{"code":-1,"message":"Path not valid"}}"#), Error::Refused(why) if why == "Path not valid")
        );
        assert!(matches!(
            said(r#"{"error":{"id":0,"message":"Server down or restarting"}}"#),
            Error::Restarting(_)
        ));
        assert!(matches!(said("{}"), Error::Malformed(_)));
        assert!(matches!(said("<html>"), Error::Malformed(_)));
        assert_eq!(answers::<Value>(br#"{"result":[{},{}]}"#).unwrap().len(), 2);
    }
}
