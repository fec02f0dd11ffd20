//! A console on a shell of the host's: `script` gives it a terminal with echo and carriage returns.

use super::*;
use std::process::Command;

/// A guest that boots for a moment and then has bash at a prompt, or None where the host lacks the programs.
fn console(boot: &str) -> Option<Console> {
    let bash = "bash --norc --noprofile -i";
    if crate::process::find("script").is_none() || crate::process::find("bash").is_none() {
        eprintln!("not tested: this machine lacks script or bash");
        return None;
    }
    // A test that was started in the background ignores interrupts, and would hand that down.
    let mut command = Command::new("env");
    command
        .args(["--default-signal=INT", "script", "-q", "-c"])
        .arg(format!("{boot}; PS1='root@linux:~# ' {bash} 2>&1"))
        .arg("/dev/null");
    let machine = Machine::start(&command, &["linux".to_owned()], None).unwrap();
    Some(Console::new(machine, Duration::from_secs(30)))
}

#[test]
fn output_error_and_status_come_back_byte_for_byte() {
    let Some(mut console) = console("echo booting; sleep 0.2") else {
        return;
    };
    console.shell().unwrap();
    let output = console
        .run("printf 'a\\r\\n\\000\\377'; echo why >&2; exit 7")
        .unwrap();
    assert_eq!(output.stdout, b"a\r\n\0\xff");
    assert_eq!(output.stderr, b"why\n");
    assert_eq!(output.status, 7);
    assert_eq!(console.run("true").unwrap().stdout, b"");
}

#[test]
fn commands_may_be_long_and_have_any_quotes() {
    let Some(mut console) = console("true") else {
        return;
    };
    console.shell().unwrap();
    let long = "x'\"$`\\ ".repeat(700);
    let command = format!("cat <<'THE END'\n{long}\nTHE END\n");
    let output = console.run(&command).unwrap();
    assert_eq!(output.text(), format!("{long}\n"));
}

#[test]
fn the_commands_input_is_the_terminal_and_output_may_be_large() {
    let Some(mut console) = console("true") else {
        return;
    };
    console.shell().unwrap();
    assert!(console.run("tty").unwrap().text().starts_with("/dev/"));
    let many = console.run("seq 1 20000").unwrap();
    let expected: String = (1..=20000).map(|n| format!("{n}\n")).collect();
    assert_eq!(many.text(), expected);
}

#[test]
fn a_command_that_hangs_is_left_and_the_next_one_runs() {
    let Some(mut console) = console("true") else {
        return;
    };
    console.shell().unwrap();
    let error = console
        .run_within("sleep 1000", Duration::from_millis(300))
        .unwrap_err();
    assert!(
        matches!(error.downcast_ref(), Some(Failure::TimedOut { .. })),
        "{error}"
    );
    console.interrupt().unwrap();
    assert_eq!(console.run("echo back").unwrap().stdout, b"back\n");
}

#[test]
fn a_person_sees_a_prompt_again_after_a_session() {
    let Some(mut console) = console("echo early words") else {
        return;
    };
    console.expect("early words").unwrap();
    console.shell().unwrap();
    console.run("true").unwrap();
    console.leave().unwrap();
    console.send("echo a''b\n").unwrap();
    console.expect("ab").unwrap();
}

#[test]
fn a_shell_that_never_comes_is_reported_with_the_consoles_end() {
    let Some(mut console) = console("echo stuck; sleep 1000") else {
        return;
    };
    console.set_limit(Duration::from_millis(500));
    let error = console.shell().unwrap_err();
    assert!(error.to_string().contains("stuck"), "{error}");
}
