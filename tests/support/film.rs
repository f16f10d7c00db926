//! A stream of pictures that is watched, part by part.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Instant;

use super::http::Web;
use super::LIMIT;

/// A stream that is watched.
pub struct Film(BufReader<TcpStream>);

/// One of its pictures.
pub struct Part {
    /// When it was taken, Unix time in seconds.
    pub time: f64,
    /// Why it is no picture of the camera; none where it is one.
    pub notice: Option<String>,
    /// The picture.
    pub jpeg: Vec<u8>,
}

impl Film {
    /// A program's own.
    #[track_caller]
    pub fn open(web: &Web, target: &str) -> Self {
        let (film, head) = Self::over(web.connect(), &web.address.to_string(), target);
        assert!(head.contains("x-accel-buffering: no"), "{head}");
        film
    }

    /// The stream that `target` of `host` is at the other end of `connection`, and its head in small letters.
    #[track_caller]
    pub fn over(mut connection: TcpStream, host: &str, target: &str) -> (Self, String) {
        connection.set_read_timeout(Some(LIMIT)).unwrap();
        // HTTP/1.0, so that the stream comes as it is.
        write!(connection, "GET {target} HTTP/1.0\r\nHost: {host}\r\n\r\n").unwrap();
        let mut film = Self(BufReader::new(connection));
        assert!(film.line().contains(" 200 "));
        let head: Vec<String> = std::iter::from_fn(|| Some(film.line()).filter(|line| !line.is_empty())).collect();
        let head = head.join("\n").to_lowercase();
        assert!(head.contains("content-type: multipart/x-mixed-replace; boundary=pspnetd-next-picture"), "{head}");
        assert!(head.contains("cache-control: no-store"), "{head}");
        (film, head)
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// The next part.
    #[track_caller]
    pub fn part(&mut self) -> Part {
        assert_eq!(self.line(), "--pspnetd-next-picture");
        assert_eq!(self.line(), "Content-Type: image/jpeg");
        let length = self.line().strip_prefix("Content-Length: ").unwrap().parse().unwrap();
        let time = self.line().strip_prefix("X-Timestamp: ").unwrap().parse().unwrap();
        let last = self.line();
        let notice = last.strip_prefix("X-Notice: ").map(str::to_owned);
        assert_eq!(if notice.is_some() { self.line() } else { last }, "");
        let mut jpeg = vec![0; length];
        self.0.read_exact(&mut jpeg).unwrap();
        assert_eq!(self.line(), "");
        Part { time, notice, jpeg }
    }

    /// The camera's next picture.
    #[track_caller]
    pub fn next(&mut self) -> Part {
        loop {
            let part = self.part();
            if part.notice.is_none() {
                return part;
            }
        }
    }

    /// The next part that is no picture of the camera's.
    #[track_caller]
    pub fn next_notice(&mut self) -> Part {
        let start = Instant::now();
        loop {
            let part = self.part();
            if part.notice.is_some() {
                return part;
            }
            assert!(start.elapsed() < LIMIT, "pictures still come");
        }
    }

    /// Reads to the stream's end, and fails where it has none.
    #[track_caller]
    pub fn expect_end(mut self) {
        let mut rest = Vec::new();
        if let Err(error) = self.0.read_to_end(&mut rest) {
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}");
        }
    }
}
