//! Configurations come back, and a program refuses those of others.

use super::*;

fn power() -> PowerConfig {
    let header = Header::new::<PowerConfig>(Program::Power, 0, Labels::RELEASE, Ring::NONE);
    PowerConfig {
        header,
        serial: Ring::NONE,
        guest_count: 0,
        reserved: 0,
        guests: [Ring::NONE; MAX_GUESTS],
    }
}

#[test]
fn a_configuration_comes_back() {
    let config = power();
    assert_eq!(parse::<PowerConfig>(config.as_bytes()), Ok(&config));
}

#[test]
fn a_foreign_configuration_is_refused() {
    let mut config = power();
    assert_eq!(
        parse::<TimerConfig>(&[0; 8]),
        Err(Refused::Short(8, size_of::<TimerConfig>()))
    );
    config.header.program = Program::Timer as u32;
    assert_eq!(
        parse::<PowerConfig>(config.as_bytes()),
        Err(Refused::Program(8))
    );
    config.header.program = Program::Power as u32;
    config.header.size += 1;
    assert!(matches!(
        parse::<PowerConfig>(config.as_bytes()),
        Err(Refused::Size(..))
    ));
    config.header.magic[0] = 0;
    assert!(matches!(
        parse::<PowerConfig>(config.as_bytes()),
        Err(Refused::Magic(_))
    ));
}

#[test]
fn names_keep_their_text() {
    assert_eq!(Name::new("linux.disk").unwrap().as_str(), "linux.disk");
    assert_eq!(Name::new(&"x".repeat(33)), None);
    assert_eq!(Name { bytes: [0xff; 32] }.as_str(), "");
}
