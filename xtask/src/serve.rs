//! A small static file server, for this machine only.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

/// How long a connection may take to say what it wants.
const PATIENCE: Duration = Duration::from_secs(10);

/// Serves the files below a folder on the loopback address.
pub(crate) struct Server {
    listener: TcpListener,
    folder: PathBuf,
}

impl Server {
    /// Takes a port; 0 takes any free one.
    ///
    /// # Errors
    /// When the port is taken or not allowed.
    pub(crate) fn bind(folder: PathBuf, port: u16) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
            .with_context(|| format!("cannot use port {port}; choose another with --port"))?;
        Ok(Self { listener, folder })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// When the system does not say.
    pub(crate) fn address(&self) -> Result<SocketAddr> {
        self.listener.local_addr().context("the server's address")
    }

    /// Answers requests until the program ends.
    pub(crate) fn run(self) {
        for stream in self.listener.incoming().flatten() {
            let folder = self.folder.clone();
            // A browser that goes away in the middle is no failure of ours.
            std::thread::spawn(move || answer(&stream, &folder).ok());
        }
    }
}

fn answer(mut stream: &TcpStream, folder: &Path) -> std::io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut request = String::new();
    let mut reader = BufReader::new(stream);
    reader.read_line(&mut request)?;
    // The headers hold nothing that matters here, but must be read to the end.
    reader.lines().map_while(Result::ok).take_while(|line| !line.is_empty()).for_each(drop);
    let found = file_for(&request, folder).and_then(|path| Some((kind(&path), std::fs::read(path).ok()?)));
    let (status, kind, body) = match found {
        Some((kind, body)) => ("200 OK", kind, body),
        None => ("404 Not Found", "text/plain", b"not found\n".to_vec()),
    };
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\
         Cache-Control: no-cache\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n",
        body.len()
    )?;
    // HEAD asks for what GET would say, without the file.
    if request.starts_with("HEAD ") { Ok(()) } else { stream.write_all(&body) }
}

/// The file that a request line asks for; none for anything but a plain GET or HEAD of
/// a path that stays below the folder.
fn file_for(request: &str, folder: &Path) -> Option<PathBuf> {
    let mut words = request.split_whitespace();
    let (method, target) = (words.next()?, words.next()?);
    let path = target.split(['?', '#']).next()?.strip_prefix('/')?;
    let path = Path::new(if path.is_empty() { "index.html" } else { path });
    let plain = path.components().all(|part| matches!(part, Component::Normal(_)));
    (matches!(method, "GET" | "HEAD") && plain).then(|| folder.join(path))
}

/// The content type of a file, by its extension.
fn kind(path: &Path) -> &'static str {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("js" | "mjs") => "text/javascript; charset=utf-8",
        Some("wasm") => "application/wasm",
        Some("json") => "application/json",
        Some("png") => "image/png",
        Some("svg") => "image/svg+xml",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn requests_stay_below_the_folder() {
        let folder = Path::new("dist");
        let file = |request: &str| file_for(request, folder);
        assert_eq!(file("GET / HTTP/1.1"), Some(folder.join("index.html")));
        assert_eq!(file("GET /a/b.js?x HTTP/1.1"), Some(folder.join("a/b.js")));
        for wrong in ["", "GET", "POST / HTTP/1.1", "GET /../secret", "GET //etc/passwd", "GET http://x/"] {
            assert_eq!(file(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn wasm_has_the_type_that_browsers_compile() {
        assert_eq!(kind(Path::new("a_bg.wasm")), "application/wasm");
        assert_eq!(kind(Path::new("README")), "application/octet-stream");
    }

    #[test]
    fn serves_what_is_there_and_only_that() {
        let folder = std::env::temp_dir().join(format!("xtask-serve-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("index.html"), "<p>here</p>").unwrap();
        let server = Server::bind(folder.clone(), 0).unwrap();
        let address = server.address().unwrap();
        std::thread::spawn(move || server.run());
        let ask = |method: &str, path: &str| {
            let mut stream = TcpStream::connect(address).unwrap();
            write!(stream, "{method} {path} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
            let mut reply = String::new();
            stream.read_to_string(&mut reply).unwrap();
            reply
        };
        let get = |path: &str| ask("GET", path);
        assert!(get("/").starts_with("HTTP/1.1 200 OK") && get("/").ends_with("<p>here</p>"));
        assert!(get("/other").starts_with("HTTP/1.1 404"));
        let head = ask("HEAD", "/");
        assert!(head.starts_with("HTTP/1.1 200 OK") && head.contains("Content-Length: 11"), "{head}");
        assert!(head.ends_with("\r\n\r\n"), "{head}");
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_taken_port_is_named() {
        let first = Server::bind(PathBuf::new(), 0).unwrap();
        let port = first.address().unwrap().port();
        let error = Server::bind(PathBuf::new(), port).err().unwrap();
        assert!(error.to_string().contains(&port.to_string()), "{error}");
    }
}
