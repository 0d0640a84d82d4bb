//! Steers a browser through its driver: just enough of the WebDriver protocol
//! to open a page, ask it something and take a picture of it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

/// How long the driver may take to answer one question.
const PATIENCE: Duration = Duration::from_secs(120);

/// A running browser; closed when dropped.
pub(crate) struct Browser {
    driver: Child,
    port: u16,
    session: String,
}

impl Browser {
    /// Starts the driver, and through it a browser with these capabilities.
    ///
    /// # Errors
    /// When either does not start.
    pub(crate) fn start(driver: &mut Command, capabilities: &Value) -> Result<Self> {
        let driver = driver.arg("--port=0").stdout(Stdio::piped()).spawn();
        let mut driver = driver.context("chromedriver did not start")?;
        let port = announced_port(&mut driver)?;
        let mut browser = Self { driver, port, session: String::new() };
        let wanted = json!({ "capabilities": { "alwaysMatch": capabilities } });
        let session = browser.request("POST", "", &wanted)?;
        let id = session["sessionId"].as_str().context("the driver opened no session")?;
        browser.session = format!("/{id}");
        Ok(browser)
    }

    /// Opens a page.
    ///
    /// # Errors
    /// When it cannot be loaded.
    pub(crate) fn open(&self, address: &str) -> Result<()> {
        self.request("POST", "/url", &json!({ "url": address })).map(drop)
    }

    /// Runs a script in the page; its `return` is the result.
    ///
    /// # Errors
    /// When the script throws.
    pub(crate) fn ask(&self, script: &str) -> Result<Value> {
        self.request("POST", "/execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// What the console has shown since the last call: level and message.
    ///
    /// # Errors
    /// When the session was not opened with `goog:loggingPrefs`.
    pub(crate) fn console(&self) -> Result<Vec<(String, String)>> {
        let entries = self.request("POST", "/se/log", &json!({ "type": "browser" }))?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let entries = entries.as_array().context("the console's entries are no list")?;
        Ok(entries.iter().map(|entry| (text(&entry["level"]), text(&entry["message"]))).collect())
    }

    /// A picture of the window, as PNG.
    ///
    /// # Errors
    /// When the browser takes none.
    pub(crate) fn screenshot(&self) -> Result<Vec<u8>> {
        let picture = self.request("GET", "/screenshot", &Value::Null)?;
        let text = picture.as_str().context("the screenshot is no text")?;
        base64(text).context("the screenshot is not base64")
    }

    fn request(&self, method: &str, path: &str, body: &Value) -> Result<Value> {
        let path = format!("/session{}{path}", self.session);
        let reply = exchange(self.port, method, &path, body).with_context(|| format!("{method} {path}"))?;
        let value = reply["value"].clone();
        if let Some(problem) = value["error"].as_str() {
            bail!("the browser: {problem}: {}", value["message"].as_str().unwrap_or_default());
        }
        Ok(value)
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Nothing is left to do about a browser that does not want to close.
        self.request("DELETE", "", &Value::Null).ok();
        self.driver.kill().ok();
        self.driver.wait().ok();
    }
}

/// The port that the driver says it listens on.
fn announced_port(driver: &mut Child) -> Result<u16> {
    let output = driver.stdout.take().context("chromedriver's output")?;
    let mut lines = BufReader::new(output).lines().map_while(Result::ok);
    let port = lines.find_map(|line| port_in(&line)).context("chromedriver names no port")?;
    // The pipe must be emptied, or the driver would stop at a full one.
    std::thread::spawn(move || lines.for_each(drop));
    Ok(port)
}

fn port_in(line: &str) -> Option<u16> {
    let (_, rest) = line.split_once("successfully on port ")?;
    rest.trim_end_matches('.').parse().ok()
}

/// One HTTP request and its JSON answer.
fn exchange(port: u16, method: &str, path: &str, body: &Value) -> Result<Value> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let body = if body.is_null() { String::new() } else { body.to_string() };
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: localhost:{port}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )?;
    let mut reader = BufReader::new(stream);
    let length = content_length(&mut reader)?;
    let mut reply = vec![0; length];
    reader.read_exact(&mut reply)?;
    serde_json::from_slice(&reply).context("the driver's answer is not JSON")
}

/// Reads the headers, and returns how long the body is.
fn content_length(reader: &mut impl BufRead) -> Result<usize> {
    let headers: Vec<String> =
        reader.lines().map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
    let mut fields = headers.iter().filter_map(|line| line.split_once(':'));
    let length = fields.find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let (_, length) = length.context("the driver does not say how long its answer is")?;
    length.trim().parse().context("the driver's Content-Length")
}

/// Decodes base64; none where a character does not belong to it.
fn base64(text: &str) -> Option<Vec<u8>> {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digit = |byte: u8| ALPHABET.iter().position(|&known| known == byte);
    let text = text.trim_end_matches('=').as_bytes();
    let mut bytes = Vec::with_capacity(text.len() * 3 / 4);
    for group in text.chunks(4) {
        let bits = group.iter().try_fold(0, |bits, &byte| Some(bits << 6 | digit(byte)?))?;
        let filled = bits << (6 * (4 - group.len()));
        bytes.extend([filled >> 16, filled >> 8, filled].map(|byte| byte as u8).iter().take(group.len() - 1));
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_of_every_length() {
        let cases: [(&str, &[u8]); 4] =
            [("", b""), ("Zg==", b"f"), ("Zm8=", b"fo"), ("Zm9vYmFy/+8=", b"foobar\xff\xef")];
        for (text, bytes) in cases {
            assert_eq!(base64(text).as_deref(), Some(bytes), "{text}");
        }
        assert_eq!(base64("Zm9v!"), None);
    }

    #[test]
    fn the_drivers_port() {
        assert_eq!(port_in("ChromeDriver was started successfully on port 34567."), Some(34567));
        assert_eq!(port_in("Starting ChromeDriver 156.0 on port 0"), None);
    }

    #[test]
    fn lengths_are_found_whatever_their_case() -> Result<()> {
        let mut reply: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
        assert_eq!(content_length(&mut reply)?, 2);
        assert!(content_length(&mut &b"HTTP/1.1 200 OK\r\n\r\n"[..]).is_err());
        Ok(())
    }
}
