//! Keys that are typed reach a guest.

use std::time::Duration;

use imgbuild_qemu::boot_command::BootCommand;
use imgbuild_qemu::spec::{Display, MachineSpec};
use imgbuild_qemu::vnc::{Pace, Vnc};

use crate::guest::{Guest, LONG};

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_reads_what_is_typed() {
    let Some(guest) = Guest::new().await else { return };
    let spec = MachineSpec { display: Display::VncSocket, ..guest.spec("type") };
    let mut machine = guest.launch(spec).start(LONG).await.unwrap();
    let mut vnc = Vnc::connect(&machine.wiring().vnc_socket, LONG).await.unwrap();
    assert!(machine.wait_for_console("listens to the power button", LONG).await.unwrap());
    let text = "Linux ks=http://10.0.2.2:8000/ks.cfg \"A_b\" ~!@#$%^&*()+{}|:<>?`-=[]\\;',./";
    let command = format!("<wait1s>{text}<leftShiftOn>up<leftShiftOff>x<bs><spacebar>end<enter>");
    let command = BootCommand::parse(&command).unwrap();
    let pace = Pace { key: Duration::from_millis(20), ..Pace::default() };
    vnc.type_command(&command, pace).await.unwrap();
    assert!(machine.wait_for_console(" end\n", LONG).await.unwrap(), "{}", machine.console(10));
    assert!(machine.console(10).contains(&format!("typed: {text}UP end")), "{}", machine.console(10));
}
