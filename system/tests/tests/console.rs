//! The console: nothing is lost in either direction.

use sel4cp_tests::System;

#[test]
fn a_paste_of_150_lines_arrives_whole() {
    let mut linux = System::new("linux").boot();
    let lines: Vec<String> = (0..150)
        .map(|i| {
            format!(
                "{i:03} {}",
                "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGHIJKLMNOPQ"
                    .get(..51)
                    .unwrap()
            )
        })
        .collect();
    assert!(
        lines.iter().all(|line| line.len() == 55),
        "56 bytes with the newline"
    );
    let pasted = lines.join("\n") + "\n";
    linux.paste_into("/tmp/pasted", &pasted);
    let sum = linux.run("sha256sum /tmp/pasted | cut -d' ' -f1");
    assert_eq!(sum.trim(), sel4cp_tests::sha256(pasted.as_bytes()));
    linux.power_off();
}

#[test]
fn twenty_thousand_lines_come_out_in_order() {
    let mut linux = System::new("linux").boot();
    let output = linux.print("seq -f 'line %.0f of twenty thousand' 1 20000", 300);
    let expected: String = (1..=20_000)
        .map(|i| format!("line {i} of twenty thousand\n"))
        .collect();
    assert!(
        output == expected,
        "{} bytes came, {} were sent",
        output.len(),
        expected.len()
    );
    linux.power_off();
}

#[test]
fn the_console_has_its_size() {
    let mut linux = System::new("linux").boot();
    assert_eq!(linux.run("stty size < /dev/hvc0"), "25 80\n");
    linux.power_off();
}
