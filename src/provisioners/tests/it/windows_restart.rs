//! `windows-restart`: what is run and waited for, as the guest answers.

use std::time::Duration;

use base64::Engine as _;
use imgbuild_provisioners::windows::{Event, Todo, WindowsRestart};

use crate::support::message;

const RESTART: &str = r#"shutdown /r /f /t 0 /c "packer restart""#;
const PROBE: &str = r#"shutdown /r /f /t 60 /c "packer restart test""#;
const CALL_OFF: &str = "shutdown /a";
const CHECK: &str = "Write-Output ([Net.Dns]::GetHostName() + ' restarted.')";

fn exits(code: i32) -> Event<'static> {
    Event::Exited { code, output: "" }
}

fn answers(output: &str) -> Event<'_> {
    Event::Exited { code: 0, output }
}

/// A step as a line, with what is encoded in it.
fn shown(todo: &Todo) -> String {
    match todo {
        Todo::Run(command) => match command.strip_prefix("powershell.exe -EncodedCommand ") {
            Some(encoded) => {
                let bytes = base64::engine::general_purpose::STANDARD.decode(encoded).unwrap();
                let units: Vec<_> =
                    bytes.chunks(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect();
                String::from_utf16(&units).unwrap()
            }
            None => command.clone(),
        },
        Todo::Wait(time) => format!("wait {}", time.as_secs()),
        Todo::Finished => "finished".to_owned(),
    }
}

/// Plays a restart: each event with what it must lead to.
#[track_caller]
fn play(restart: &WindowsRestart, steps: &[(Event<'_>, &str)]) {
    let (mut state, first) = restart.begin();
    assert_eq!(shown(&first), restart.restart_command);
    for (place, (event, expected)) in steps.iter().enumerate() {
        let todo = state.next(*event).unwrap();
        assert_eq!(shown(&todo), *expected, "step {place}, after {event:?}");
    }
}

#[test]
fn a_restart_is_waited_for() {
    let restart = WindowsRestart::default();
    assert_eq!(restart.restart_command, RESTART);
    play(
        &restart,
        &[
            (exits(0), PROBE),
            (exits(1115), "wait 10"),
            (Event::Waited, PROBE),
            (exits(1190), "wait 10"),
            (Event::Waited, PROBE),
            (exits(1717), "wait 10"),
            (Event::Waited, PROBE),
            (exits(5), PROBE),
            (exits(0), CALL_OFF),
            (exits(0), "wait 5"),
            (Event::Waited, CHECK),
            (answers(""), "wait 5"),
            (Event::Waited, CHECK),
            (answers("WIN-1 restarted.\r\n"), "finished"),
        ],
    );
}

#[test]
fn a_guest_that_is_not_reached_is_down() {
    for lost in [Event::NotStarted, Event::Broken, exits(1)] {
        play(&WindowsRestart::default(), &[(exits(0), PROBE), (lost, "wait 5"), (Event::Waited, CHECK)]);
    }
    for called_off in [Event::NotStarted, Event::Broken, exits(1116)] {
        play(&WindowsRestart::default(), &[(exits(0), PROBE), (exits(0), CALL_OFF), (called_off, "wait 5")]);
    }
    let back = [
        (exits(0), PROBE),
        (Event::NotStarted, "wait 5"),
        (Event::Waited, CHECK),
        (Event::NotStarted, "wait 5"),
        (Event::Waited, CHECK),
        (Event::Broken, "wait 5"),
        (Event::Waited, CHECK),
        (answers("restarted."), "finished"),
    ];
    play(&WindowsRestart::default(), &back);
}

#[test]
fn some_codes_of_the_restart_command_are_success() {
    for event in [exits(0), exits(1115), exits(1190), Event::Broken] {
        play(&WindowsRestart::default(), &[(event, PROBE)]);
    }
    let restart = WindowsRestart { restart_command: "restart-it".to_owned(), ..WindowsRestart::default() };
    for (event, expected) in [
        (exits(1), "the restart command ended with exit code 1"),
        (exits(1717), "the restart command ended with exit code 1717"),
        (Event::NotStarted, "the restart command cannot be run: the guest is not reached"),
    ] {
        let (mut state, first) = restart.begin();
        assert_eq!(first, Todo::Run("restart-it".to_owned()));
        assert_eq!(message(state.next(event).unwrap_err()), expected);
    }
}

#[test]
fn a_check_of_the_users_counts_once_it_could_be_run() {
    let restart =
        WindowsRestart { restart_check_command: Some("check".to_owned()), ..WindowsRestart::default() };
    play(
        &restart,
        &[
            (exits(0), PROBE),
            (exits(1), "wait 5"),
            (Event::Waited, "check"),
            (Event::NotStarted, "wait 5"),
            (Event::Waited, "check"),
            (exits(1), CHECK),
            (answers(""), "wait 5"),
            (Event::Waited, CHECK),
            (answers("W restarted."), "finished"),
        ],
    );
}

#[test]
fn the_registry_is_asked_until_no_key_is_left() {
    let restart = WindowsRestart { check_registry: true, ..WindowsRestart::default() };
    let name = |key: &str| {
        let folder = r"Microsoft\Windows\CurrentVersion\Component Based Servicing";
        let root = if key == "RebootInProgress" { "Software" } else { "SOFTWARE" };
        format!(r#"Test-Path -Path "HKLM:{root}\{folder}\{key}""#)
    };
    let keys = ["RebootPending", "PackagesPending", "RebootInProgress"].map(name);
    play(
        &restart,
        &[
            (exits(0), PROBE),
            (exits(1), "wait 5"),
            (Event::Waited, CHECK),
            (answers("W restarted."), &keys[0]),
            (answers("True\r\n"), &keys[1]),
            (answers("False\r\n"), &keys[2]),
            (answers("False\r\n"), "wait 5"),
            (Event::Waited, CHECK),
            (answers("W restarted."), &keys[0]),
            (answers("False\r\n"), &keys[1]),
            (Event::NotStarted, "wait 5"),
            (Event::Waited, CHECK),
            (answers("W restarted."), &keys[0]),
            (answers("False\r\n"), &keys[1]),
            (answers("False\r\n"), &keys[2]),
            (answers("False\r\n"), "finished"),
        ],
    );
    let own = WindowsRestart { registry_keys: vec![r"HKCU:\Mine".to_owned()], ..restart.clone() };
    let start = [(exits(0), PROBE), (exits(1), "wait 5"), (Event::Waited, CHECK)];
    let asked = [(answers("restarted."), r#"Test-Path -Path "HKCU:\Mine""#), (answers("False"), "finished")];
    play(&own, &[&start[..], &asked].concat());
    let none = WindowsRestart { registry_keys: Vec::new(), ..restart };
    play(&none, &[&start[..], &[(answers("restarted."), "finished")]].concat());
}

#[test]
fn its_time_counts_from_the_order_on() {
    let restart = WindowsRestart { restart_timeout: Duration::from_secs(90), ..WindowsRestart::default() };
    assert_eq!(WindowsRestart::default().restart_timeout, Duration::from_secs(300));
    let (mut state, _) = restart.begin();
    assert!(!state.is_ordered());
    state.next(exits(0)).unwrap();
    assert!(state.is_ordered());
    assert_eq!(message(state.timed_out()), "the guest is not back from its restart after 90 s");
}
