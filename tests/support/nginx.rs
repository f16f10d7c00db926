//! A real nginx in front of the program, from Debian's package.

use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::{needs, Running, LIMIT};

/// Where Debian has it; an ordinary user's `PATH` leads elsewhere.
const NGINX: &str = "/usr/sbin/nginx";

/// A running nginx. It ends with this value.
pub struct Nginx {
    /// Where it listens on 127.0.0.1.
    pub port: u16,
    folder: tempfile::TempDir,
    _running: Running,
}

impl Nginx {
    /// One server with these `locations`. None where there is no nginx: the test is left out.
    #[track_caller]
    pub fn start(locations: &str) -> Option<Self> {
        if !needs::program(NGINX, "nginx") {
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let start = Instant::now();
        loop {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            std::fs::write(folder.path().join("nginx.conf"), configuration(folder.path(), port, locations)).unwrap();
            let mut command = Command::new(NGINX);
            command.args(["-e", "stderr", "-c", "nginx.conf", "-p"]).arg(folder.path()).stdin(Stdio::null());
            let running = Running::start(command);
            while !running.has_ended(Duration::from_millis(20)) {
                if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                    return Some(Self { port, folder, _running: running });
                }
                assert!(start.elapsed() < LIMIT, "nginx doesn't listen: {}", running.stderr.text());
            }
            // Somebody else had the port in between.
            let said = running.finish().stderr;
            assert!(said.contains("Address already in use") && start.elapsed() < LIMIT, "{said}");
        }
    }

    /// The folder of files that it serves at `/files/`.
    pub fn files(&self) -> &Path {
        self.folder.path()
    }

    /// A connection to it whose reads have a limit.
    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).expect("connect to nginx");
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream.set_write_timeout(Some(LIMIT)).unwrap();
        stream
    }
}

/// Everything that Debian's own configuration leaves as nginx has it is left here too, above all the buffers of proxies.
fn configuration(folder: &Path, port: u16, locations: &str) -> String {
    let folder = folder.display();
    let paths = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("    {name}_temp_path {folder}/{name};\n"))
        .concat();
    format!(
        "daemon off;\nmaster_process off;\npid {folder}/pid;\nerror_log stderr notice;\n\
         events {{ worker_connections 128; }}\n\
         http {{\n    access_log off;\n    default_type text/html;\n{paths}    server {{\n        listen 127.0.0.1:{port};\n\
         location /files/ {{ alias {folder}/; }}\n{locations}\n    }}\n}}\n"
    )
}
