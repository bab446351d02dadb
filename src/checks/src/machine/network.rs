//! What a booted machine knows of its networks and mounts.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use imgbuild_engine::Exit;

use super::{Fact, Machine, Problem};

/// A mount.
#[derive(Clone, Debug)]
pub(crate) struct Mount {
    pub(crate) options: Vec<String>,
    pub(crate) super_options: Vec<String>,
    pub(crate) source: String,
    pub(crate) filesystem: String,
}

/// A request over HTTP.
#[derive(Clone, Debug, Default)]
pub(crate) struct Request {
    pub(crate) url: String,
    pub(crate) method: Option<String>,
    pub(crate) headers: Vec<String>,
    pub(crate) body: Option<String>,
    pub(crate) insecure: bool,
    pub(crate) stay: bool,
    pub(crate) timeout: u64,
    pub(crate) login: Option<(String, String)>,
    pub(crate) files: Vec<(&'static str, String)>,
    pub(crate) proxy: Option<String>,
}

/// What a server answered.
#[derive(Clone, Debug, Default)]
pub(crate) struct Response {
    pub(crate) status: i64,
    pub(crate) headers: Vec<String>,
    pub(crate) body: String,
}

fn unknown(message: impl Into<String>) -> Problem {
    Problem::Unknown(message.into())
}

/// Milliseconds as seconds, at least a tenth.
fn seconds(milliseconds: u64) -> String {
    let tenths = milliseconds.div_ceil(100).max(1);
    format!("{}.{}", tenths / 10, tenths % 10)
}

impl Machine<'_> {
    /// The addresses at which a port is listened on: `tcp:22`, `udp6:53`; a number alone is one of TCP.
    ///
    /// # Errors
    /// If that cannot be known, as of a machine that is not booted.
    pub async fn listeners(&mut self, port: &str) -> Fact<Vec<String>> {
        self.needs_boot("whether a port is listened on")?;
        let (protocol, number) = port.split_once(':').unwrap_or(("tcp", port));
        if !matches!(protocol, "tcp" | "tcp6" | "udp" | "udp6") {
            return Err(unknown(format!("`{protocol}` is not `tcp`, `tcp6`, `udp` or `udp6`")));
        }
        let number: u16 = number.parse().map_err(|_| unknown(format!("`{number}` is no port")))?;
        let ran = self.run(&["cat", &format!("/proc/net/{protocol}")]).await?;
        Ok(listening(&ran.stdout, protocol.starts_with("udp"), number))
    }

    /// The mount at a path; `None` if there is none.
    pub(crate) async fn mount(&mut self, path: &str) -> Fact<Option<Mount>> {
        self.needs_boot("what is mounted")?;
        let ran = self.run(&["cat", "/proc/self/mountinfo"]).await?;
        Ok(mounted(&ran.stdout, path))
    }

    /// How much of a mount's space is used, in percent.
    pub(crate) async fn usage(&mut self, path: &str) -> Fact<i64> {
        let said = self.said(&["df", "-P", "--", path]).await?;
        let share = said.lines().nth(1).and_then(|line| line.split_whitespace().nth(4));
        let share = share.and_then(|share| share.strip_suffix('%')?.parse().ok());
        share.ok_or_else(|| unknown(format!("`df` does not say how full `{path}` is")))
    }

    /// The largest packet and the addresses of a network interface; `None` if there is none.
    pub(crate) async fn interface(&mut self, name: &str) -> Fact<Option<(i64, Vec<String>)>> {
        self.needs_boot("the network's interfaces")?;
        if name.contains('/') || name.is_empty() || name.starts_with('.') {
            return Err(unknown(format!("`{name}` is no name of an interface")));
        }
        let ran = self.run(&["cat", &format!("/sys/class/net/{name}/mtu")]).await?;
        if ran.exit != Exit::Code(0) {
            return Ok(None);
        }
        let mtu = ran.stdout.trim().parse().unwrap_or(-1);
        let said = self.said(&["ip", "-o", "addr", "show", "dev", name]).await?;
        let address = |line: &str| {
            let mut words = line.split_whitespace().skip_while(|word| !matches!(*word, "inet" | "inet6"));
            words.nth(1).map(str::to_owned)
        };
        Ok(Some((mtu, said.lines().filter_map(address).collect())))
    }

    /// Whether an address of the form `tcp://host:port` answers.
    pub(crate) async fn is_reachable(&mut self, address: &str, milliseconds: u64) -> Fact<bool> {
        self.needs_boot("whether an address is reachable")?;
        let (protocol, rest) = address.split_once("://").unwrap_or(("tcp", address));
        let (host, port) =
            rest.rsplit_once(':').ok_or_else(|| unknown(format!("`{address}` names no port")))?;
        match protocol {
            "tcp" | "tcp4" | "tcp6" => {}
            // Nobody has to answer, so whoever can be named is reachable.
            "udp" | "udp4" | "udp6" => return Ok(!self.addresses(host).await?.is_empty()),
            other => return Err(unknown(format!("`{other}` is not supported in `{address}`"))),
        }
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if !self.has_program("bash").await? {
            return Err(unknown("`bash` is needed on the machine to reach an address, and is not there"));
        }
        // The limit is for the connection, and not for the shell's own start on a machine that is busy.
        const CONNECT: &str = "exec 4< <(exec 3<>\"/dev/tcp/$1/$2\" && echo yes)\n\
            read -r -t \"$3\" -u 4 answer\nkill \"$!\" 2>/dev/null\n[ \"$answer\" = yes ]";
        let limit = seconds(milliseconds);
        let ran = self.run(&["bash", "-c", CONNECT, "bash", host, port, &limit]).await?;
        Ok(ran.exit == Exit::Code(0))
    }

    /// The addresses of a name, as the machine's own resolver has them.
    pub(crate) async fn addresses(&mut self, name: &str) -> Fact<Vec<String>> {
        self.needs_boot("how a name resolves")?;
        let ran = self.run(&["getent", "ahosts", name]).await?;
        let mut found: Vec<String> =
            ran.stdout.lines().filter_map(|line| line.split_whitespace().next().map(str::to_owned)).collect();
        found.sort();
        found.dedup();
        Ok(found)
    }

    /// Records of a name, asked of a server.
    pub(crate) async fn records(
        &mut self,
        kind: &str,
        name: &str,
        server: &str,
        milliseconds: u64,
    ) -> Fact<Vec<String>> {
        self.needs_boot("how a name resolves")?;
        if !self.has_program("dig").await? {
            return Err(unknown("`dig` is needed on the machine to ask a server of names, and is not there"));
        }
        let (host, port) = match server.rsplit_once(':') {
            Some((host, port)) if !host.contains(':') || host.ends_with(']') => (host, port),
            _ => (server, "53"),
        };
        let server = format!("@{}", host.trim_start_matches('[').trim_end_matches(']'));
        let wait = format!("+time={}", milliseconds.div_ceil(1000).max(1));
        let mut words = vec!["dig", "+short", "+tries=1", &wait, "-p", port, &server];
        match kind {
            "PTR" if name.parse::<IpAddr>().is_ok() => words.extend(["-x", name]),
            _ => words.extend(["-t", kind, "-q", name]),
        }
        let mut found: Vec<String> = self.said(&words).await?.lines().map(str::to_owned).collect();
        found.retain(|line| !line.starts_with(';'));
        found.sort();
        Ok(found)
    }

    /// What a server answers to the machine.
    pub(crate) async fn request(&mut self, request: &Request) -> Fact<Response> {
        self.needs_boot("what a server answers")?;
        if !self.has_program("curl").await? {
            return Err(unknown("`curl` is needed on the machine for `http`, and is not there"));
        }
        let mut words: Vec<String> =
            ["curl", "--silent", "--show-error", "--include", "--suppress-connect-headers"]
                .map(str::to_owned)
                .to_vec();
        let mut option = |name: &str, value: &str| words.extend([name.to_owned(), value.to_owned()]);
        option("--max-time", &seconds(request.timeout));
        match request.method.as_deref() {
            Some("HEAD") => option("--head", "--http1.1"),
            Some(method) => option("--request", method),
            None => {}
        }
        for header in &request.headers {
            option("--header", header);
        }
        for (name, path) in &request.files {
            option(name, path);
        }
        if let Some(body) = &request.body {
            option("--data-raw", body);
        }
        if let Some(proxy) = &request.proxy {
            option("--proxy", proxy);
        }
        let mut settings = None;
        if let Some((name, password)) = &request.login {
            let login = format!("{name}:{password}").replace('\\', "\\\\").replace('"', "\\\"");
            settings = Some(format!("user = \"{login}\"\n").into_bytes());
            option("--config", "-");
        }
        if request.insecure {
            words.push("--insecure".to_owned());
        }
        if !request.stay {
            words.push("--location".to_owned());
        }
        words.extend(["--url".to_owned(), request.url.clone()]);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let ran = self.run_with(&words, settings).await?;
        if ran.exit != Exit::Code(0) {
            let why = ran.stderr.lines().last().unwrap_or("it says nothing");
            return Err(unknown(format!("no answer from {}: {why}", request.url)));
        }
        answer(&ran.stdout)
            .ok_or_else(|| unknown(format!("{} answered in no way that is known", request.url)))
    }
}

/// The last answer of those that `curl --include` shows.
fn answer(text: &str) -> Option<Response> {
    let mut rest = text;
    loop {
        let mut response = Response::default();
        let mut lines = rest.split_inclusive('\n');
        let first = lines.next()?;
        let mut length = first.len();
        response.status = first.strip_prefix("HTTP/")?.split_whitespace().nth(1)?.parse().ok()?;
        for line in lines {
            length += line.len();
            let line = line.trim_end_matches(['\r', '\n']);
            if line.is_empty() {
                break;
            }
            let named =
                line.split_once(':').map(|(name, value)| format!("{}: {}", canonical(name), value.trim()));
            response.headers.push(named.unwrap_or_else(|| line.to_owned()));
        }
        rest = &rest[length..];
        let moved = matches!(response.status, 100..=199 | 300..=399) && rest.starts_with("HTTP/");
        if !moved {
            response.headers.sort();
            rest.clone_into(&mut response.body);
            return Some(response);
        }
    }
}

/// A header's name with capitals at the beginnings of its words.
fn canonical(name: &str) -> String {
    let word = |word: &str| {
        let mut letters = word.chars();
        let first = letters.next().map(|first| first.to_ascii_uppercase());
        first.into_iter().chain(letters.map(|letter| letter.to_ascii_lowercase())).collect::<String>()
    };
    name.split('-').map(word).collect::<Vec<_>>().join("-")
}

fn listening(table: &str, udp: bool, wanted: u16) -> Vec<String> {
    let mut found = Vec::new();
    for line in table.lines().skip(1) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (Some(local), Some(state)) = (words.get(1), words.get(3)) else { continue };
        let Some((address, port)) = local.split_once(':') else { continue };
        let listens = *state == if udp { "07" } else { "0A" };
        if listens
            && u16::from_str_radix(port, 16) == Ok(wanted)
            && let Some(address) = address_of(address)
        {
            found.push(address.to_string());
        }
    }
    found.sort();
    found.dedup();
    found
}

/// An address as the kernel writes it: words of four bytes, the last byte first.
fn address_of(text: &str) -> Option<IpAddr> {
    let mut bytes = Vec::new();
    for place in (0..text.len()).step_by(8) {
        let word = u32::from_str_radix(text.get(place..place + 8)?, 16).ok()?;
        bytes.extend(word.to_le_bytes());
    }
    if let Ok(four) = <[u8; 4]>::try_from(&*bytes) {
        return Some(Ipv4Addr::from(four).into());
    }
    Some(Ipv6Addr::from(<[u8; 16]>::try_from(&*bytes).ok()?).into())
}

fn mounted(table: &str, path: &str) -> Option<Mount> {
    let escapes = BTreeMap::from([("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]);
    let plain = |text: &str| {
        escapes.iter().fold(text.to_owned(), |text, (written, meant)| text.replace(written, meant))
    };
    // What was mounted last hides the rest.
    table.lines().rev().find_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let before: Vec<&str> = before.split(' ').collect();
        if plain(before.get(4)?) != path {
            return None;
        }
        let after: Vec<&str> = after.split(' ').collect();
        let list = |text: &str| text.split(',').map(str::to_owned).collect();
        Some(Mount {
            options: list(before.get(5)?),
            filesystem: (*after.first()?).to_owned(),
            source: plain(after.get(1)?),
            super_options: list(after.get(2)?),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_of_the_kernel_are_read() {
        let tcp = "  sl  local_address rem_address   st\n   0: 0100007F:0016 00000000:0000 0A 00\n   1: 0100007F:0016 0100007F:9999 01 00\n";
        assert_eq!(listening(tcp, false, 22), ["127.0.0.1"]);
        assert!(listening(tcp, false, 80).is_empty());
        let tcp6 = "h\n 0: 00000000000000000000000001000000:0050 0:0 0A\n";
        assert_eq!(listening(tcp6, false, 80), ["::1"]);
        let mounts = "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw,errors=remount-ro\n\
                      23 22 0:5 / /my\\040disk ro - tmpfs none rw,size=1k\n";
        let found = mounted(mounts, "/my disk").unwrap();
        assert_eq!((&*found.filesystem, &*found.options), ("tmpfs", &["ro".to_owned()][..]));
        assert_eq!(found.super_options, ["rw", "size=1k"]);
        assert!(mounted(mounts, "/none").is_none());
    }

    #[test]
    fn the_last_answer_counts() {
        let text = "HTTP/1.1 301 Moved\r\nLocation: /x\r\n\r\nHTTP/2 200 \r\ncontent-type: text/plain\r\n\r\nHTTP/ is a protocol\n";
        let found = answer(text).unwrap();
        assert_eq!(
            (found.status, &*found.headers, &*found.body),
            (200, &["Content-Type: text/plain".to_owned()][..], "HTTP/ is a protocol\n")
        );
    }
}
