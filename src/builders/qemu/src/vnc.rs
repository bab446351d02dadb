//! A client of VNC that types: it agrees on the protocol, sends keys and looks at nothing (RFC 6143).
//!
//! Not for: passwords, whose cipher nobody should rely on; a socket that only its owner can open needs none.

use std::io;
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::task::JoinHandle;

use crate::boot_command::{BootCommand, KeySymbol, Step};

/// Why nothing can be typed.
#[derive(Debug, thiserror::Error)]
pub enum VncError {
    /// The connection does not come about, or ends.
    #[error("cannot type over VNC: {0}")]
    Io(#[from] io::Error),
    /// There was no answer in time.
    #[error("VNC did not answer within {} s", .0.as_secs_f32())]
    TimedOut(Duration),
    /// What answers speaks something else.
    #[error("what answers is no VNC server: it begins with `{0}`")]
    Foreign(String),
    /// The server wants a password.
    #[error(
        "the VNC server wants a password, which imgbuild does not give; let it listen on a socket without one"
    )]
    Password,
    /// The server says no.
    #[error("the VNC server refuses: {0}")]
    Refused(String),
}

/// How fast is typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// What is waited after each key that goes down and each that comes up.
    pub key: Duration,
    /// What is waited after each run of characters and each named key.
    pub group: Duration,
}

impl Default for Pace {
    /// 100 ms between keys, as Packer does by default.
    fn default() -> Self {
        Self { key: Duration::from_millis(100), group: Duration::ZERO }
    }
}

/// A keyboard on a guest's screen.
#[derive(Debug)]
pub struct Vnc {
    writer: Box<dyn Writer>,
    /// Takes what the server says, which would otherwise stop.
    reader: JoinHandle<()>,
    size: (u16, u16),
}

trait Writer: AsyncWrite + Send + Sync + Unpin + std::fmt::Debug {}
impl<W: AsyncWrite + Send + Sync + Unpin + std::fmt::Debug> Writer for W {}

/// The longest text that a server may say in the beginning, in bytes.
const LONGEST: u32 = 64 << 10;

impl Vnc {
    /// Connects to a socket and agrees on the protocol within `limit`.
    ///
    /// # Errors
    /// If there is no server, or it wants a password.
    pub async fn connect(socket: &Path, limit: Duration) -> Result<Self, VncError> {
        let stream = UnixStream::connect(socket)
            .await
            .map_err(|error| io::Error::new(error.kind(), format!("`{}`: {error}", socket.display())))?;
        Self::over(stream, limit).await
    }

    /// Agrees on the protocol over a stream within `limit`.
    ///
    /// # Errors
    /// If what is there is no server, or it wants a password.
    pub async fn over<S>(stream: S, limit: Duration) -> Result<Self, VncError>
    where
        S: AsyncRead + AsyncWrite + Send + Sync + std::fmt::Debug + 'static,
    {
        let (mut reader, mut writer) = tokio::io::split(stream);
        let size = tokio::time::timeout(limit, agree(&mut reader, &mut writer))
            .await
            .map_err(|_| VncError::TimedOut(limit))??;
        let reader = tokio::spawn(async move {
            let _ = tokio::io::copy(&mut reader, &mut tokio::io::sink()).await;
        });
        Ok(Self { writer: Box::new(writer), reader, size })
    }

    /// The screen's width and height when the connection was made, in pixels.
    pub fn size(&self) -> (u16, u16) {
        self.size
    }

    /// Moves a key down or up.
    ///
    /// # Errors
    /// If the connection has ended.
    pub async fn key(&mut self, key: KeySymbol, down: bool) -> Result<(), VncError> {
        let symbol = key.0.to_be_bytes();
        let message = [4, u8::from(down), 0, 0, symbol[0], symbol[1], symbol[2], symbol[3]];
        self.writer.write_all(&message).await?;
        Ok(self.writer.flush().await?)
    }

    /// Types a command. Keys that it leaves down are let up at its end.
    ///
    /// # Errors
    /// If the connection ends.
    pub async fn type_command(&mut self, command: &BootCommand, pace: Pace) -> Result<(), VncError> {
        let mut held: Vec<KeySymbol> = Vec::new();
        for &step in command.steps() {
            match step {
                Step::Wait(time) => tokio::time::sleep(time).await,
                Step::Press { key, shift } => {
                    let shifted = held.iter().any(|key| key.is_shift());
                    // A small letter while shift is down lets QEMU turn caps lock on, to get a small letter.
                    let key = if shifted { key.capital() } else { key };
                    let shift = shift && !shifted;
                    if shift {
                        self.paced(KeySymbol::LEFT_SHIFT, true, pace).await?;
                    }
                    self.paced(key, true, pace).await?;
                    self.paced(key, false, pace).await?;
                    if shift {
                        self.paced(KeySymbol::LEFT_SHIFT, false, pace).await?;
                    }
                }
                Step::Hold(key) => {
                    self.paced(key, true, pace).await?;
                    held.push(key);
                }
                Step::Release(key) => {
                    self.paced(key, false, pace).await?;
                    held.retain(|&one| one != key);
                }
                Step::GroupEnd => tokio::time::sleep(pace.group).await,
            }
        }
        for key in held {
            self.paced(key, false, pace).await?;
        }
        Ok(())
    }

    async fn paced(&mut self, key: KeySymbol, down: bool, pace: Pace) -> Result<(), VncError> {
        self.key(key, down).await?;
        tokio::time::sleep(pace.key).await;
        Ok(())
    }
}

impl Drop for Vnc {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

/// Version 3.8, no security, a shared screen. Gives the screen's size.
async fn agree(
    reader: &mut (impl AsyncRead + Unpin),
    writer: &mut (impl AsyncWrite + Unpin),
) -> Result<(u16, u16), VncError> {
    const VERSION: &[u8; 12] = b"RFB 003.008\n";
    const NONE: u8 = 1;
    let mut version = [0; 12];
    reader.read_exact(&mut version).await?;
    if !version.starts_with(b"RFB ") {
        return Err(VncError::Foreign(String::from_utf8_lossy(&version).trim().to_owned()));
    }
    if version < *VERSION {
        return Err(VncError::Refused("it speaks a version before 3.8".to_owned()));
    }
    writer.write_all(VERSION).await?;
    writer.flush().await?;

    let count = reader.read_u8().await?;
    if count == 0 {
        return Err(VncError::Refused(text(reader).await?));
    }
    let mut kinds = vec![0; usize::from(count)];
    reader.read_exact(&mut kinds).await?;
    if !kinds.contains(&NONE) {
        return Err(VncError::Password);
    }
    writer.write_all(&[NONE]).await?;
    writer.flush().await?;
    if reader.read_u32().await? != 0 {
        return Err(VncError::Refused(text(reader).await?));
    }

    writer.write_all(&[1]).await?;
    writer.flush().await?;
    let size = (reader.read_u16().await?, reader.read_u16().await?);
    reader.read_exact(&mut [0; 16]).await?;
    text(reader).await?;
    Ok(size)
}

async fn text(reader: &mut (impl AsyncRead + Unpin)) -> Result<String, VncError> {
    let length = reader.read_u32().await?.min(LONGEST);
    let mut bytes = vec![0; length as usize];
    reader.read_exact(&mut bytes).await?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use tokio::io::DuplexStream;

    use super::*;

    const SOON: Duration = Duration::from_secs(5);

    async fn serve(far: &mut DuplexStream, kinds: &[u8]) {
        far.write_all(b"RFB 003.008\n").await.unwrap();
        far.read_exact(&mut [0; 12]).await.unwrap();
        far.write_all(&[&[kinds.len() as u8], kinds].concat()).await.unwrap();
        if !kinds.contains(&1) {
            return;
        }
        assert_eq!(far.read_u8().await.unwrap(), 1);
        far.write_all(&[0; 4]).await.unwrap();
        assert_eq!(far.read_u8().await.unwrap(), 1);
        let name = [&[0, 0, 0, 4][..], b"QEMU"].concat();
        far.write_all(&[&[2, 128, 1, 144][..], &[0; 16], &name].concat()).await.unwrap();
    }

    #[tokio::test]
    async fn keys_go_down_and_come_up() {
        let (near, mut far) = tokio::io::duplex(1 << 12);
        let (vnc, ()) = tokio::join!(Vnc::over(near, SOON), serve(&mut far, &[2, 1]));
        let mut vnc = vnc.unwrap();
        assert_eq!(vnc.size(), (640, 400));
        let command = BootCommand::parse("aB<enter><leftCtrlOn>").unwrap();
        let pace = Pace { key: Duration::ZERO, group: Duration::ZERO };
        vnc.type_command(&command, pace).await.unwrap();
        drop(vnc);
        let mut bytes = Vec::new();
        far.read_to_end(&mut bytes).await.unwrap();
        let keys: Vec<(u32, bool)> = bytes
            .chunks(8)
            .map(|one| (u32::from_be_bytes(one[4..8].try_into().unwrap()), one[1] == 1))
            .collect();
        let shift = 0xffe1;
        let wanted = [
            (0x61, true),
            (0x61, false),
            (shift, true),
            (0x42, true),
            (0x42, false),
            (shift, false),
            (0xff0d, true),
            (0xff0d, false),
            (0xffe3, true),
            (0xffe3, false),
        ];
        assert_eq!(keys, wanted);
    }

    #[tokio::test]
    async fn what_cannot_be_typed_at_is_told() {
        let (near, mut far) = tokio::io::duplex(1 << 12);
        let (vnc, ()) = tokio::join!(Vnc::over(near, SOON), serve(&mut far, &[2]));
        let wanted = "the VNC server wants a password, which imgbuild does not give; let it listen on a socket without one";
        assert_eq!(vnc.unwrap_err().to_string(), wanted);

        let (near, mut far) = tokio::io::duplex(1 << 12);
        far.write_all(b"SSH-2.0-OpenSSH\r\n").await.unwrap();
        let error = Vnc::over(near, SOON).await.unwrap_err().to_string();
        assert_eq!(error, "what answers is no VNC server: it begins with `SSH-2.0-Open`");
        let (near, _far) = tokio::io::duplex(1 << 12);
        let error = Vnc::over(near, Duration::from_millis(10)).await.unwrap_err().to_string();
        assert_eq!(error, "VNC did not answer within 0.01 s");
        assert!(Vnc::connect(Path::new("/nowhere/vnc"), SOON).await.is_err());
    }
}
