//! Tunnels: ports of this host that lead into the machine, and ports of the machine that lead here. They listen on the
//! loopback address only.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, PoisonError};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::Error;
use crate::client::reason_of;
use crate::connect::Link;
use crate::connection::Core;
use crate::error::io_reason;
use crate::settings::{Settings, Tunnel};
use crate::wire::Ending;

/// The local tunnels of a connection. They live as long as it does, over whichever link it has at the time.
pub(crate) struct LocalTunnels {
    addresses: Vec<SocketAddr>,
    _tasks: JoinSet<()>,
}

impl LocalTunnels {
    pub(crate) async fn open(core: &Arc<Core>) -> Result<Self, Error> {
        let (mut addresses, mut tasks) = (Vec::new(), JoinSet::new());
        for tunnel in &core.settings().local_tunnels {
            let failed =
                |error| Error::TunnelFailed { tunnel: tunnel.to_string(), reason: io_reason(&error) };
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, tunnel.listen)).await.map_err(failed)?;
            addresses.push(listener.local_addr().map_err(failed)?);
            tasks.spawn(listen(listener, core.clone(), tunnel.clone()));
        }
        Ok(Self { addresses, _tasks: tasks })
    }

    pub(crate) fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }
}

/// Takes connections until it is dropped, and what it took with it.
async fn listen(listener: TcpListener, core: Arc<Core>, tunnel: Tunnel) {
    let mut streams = JoinSet::new();
    loop {
        tokio::select! {
            taken = listener.accept() => match taken {
                Ok((stream, from)) => {
                    streams.spawn(lead(stream, from, core.clone(), tunnel.clone()));
                }
                // Too many open files, perhaps: others may be closed soon.
                Err(_) => tokio::time::sleep(std::time::Duration::from_millis(100)).await,
            },
            Some(_) = streams.join_next() => {}
        }
    }
}

async fn lead(mut stream: TcpStream, from: SocketAddr, core: Arc<Core>, tunnel: Tunnel) {
    let opened = async {
        core.settle().await?;
        let live = core.live().await?;
        let from = (from.ip().to_string(), u32::from(from.port()));
        let opened = live
            .link
            .handle
            .channel_open_direct_tcpip(&tunnel.host, u32::from(tunnel.port), from.0, from.1)
            .await;
        let channel = opened.map_err(|error| core.refused("a tunnel", &error))?;
        Ok::<_, Error>((live, channel))
    };
    match opened.await {
        // How either side ends is their own matter.
        Ok((live, channel)) => {
            let mut channel = Ending::new(channel.into_stream(), &live.link.state);
            let _ = copy_bidirectional(&mut stream, &mut channel).await;
        }
        Err(error) => tracing::debug!(%tunnel, %error, "a local tunnel leads nowhere"),
    }
}

/// Asks the server to listen.
pub(crate) async fn open_remote(link: &Link, settings: &Settings) -> Result<(), Error> {
    for tunnel in &settings.remote_tunnels {
        let asked = link.handle.tcpip_forward("localhost", u32::from(tunnel.listen)).await;
        let chosen = asked
            .map_err(|error| Error::TunnelFailed { tunnel: tunnel.to_string(), reason: reason_of(&error) })?;
        let port = if tunnel.listen == 0 { chosen } else { u32::from(tunnel.listen) };
        link.tunnels.lock().unwrap_or_else(PoisonError::into_inner).insert(port, tunnel.clone());
    }
    Ok(())
}
