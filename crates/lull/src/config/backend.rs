//! Whether a text can be a backend; what it needs from the host is seen when the target starts.

use crate::units::parse_size;

/// The unit in which every resource is addressed; a size is a multiple of it.
const SECTOR: u64 = 512;

/// Checks `file:/path[,direct=on|off][,size=1G]`, `mem:64M`, `null:1G`.
///
/// # Errors
/// A sentence that says what is wrong and how it is written.
pub fn check_backend(text: &str) -> Result<(), String> {
    let mut parts = text.split(',');
    let main = parts.next().unwrap_or_default();
    let (kind, rest) = main.split_once(':').ok_or_else(|| unknown(text))?;
    match kind {
        "file" if rest.is_empty() => return Err("`file:` lacks its path: write file:/path".into()),
        "file" => {}
        "mem" | "null" => check_size(rest)?,
        _ => return Err(unknown(text)),
    }
    for option in parts {
        match (kind, option.split_once('=')) {
            ("file", Some(("direct", "on" | "off"))) => {}
            ("file", Some(("size", size))) => check_size(size)?,
            ("file", Some(("direct", other))) => {
                return Err(format!("direct={other} is neither on nor off"));
            }
            _ => return Err(format!("`{option}` is no option of `{kind}:`")),
        }
    }
    Ok(())
}

fn unknown(text: &str) -> String {
    format!("`{text}` is no backend: write file:/path, mem:SIZE or null:SIZE")
}

fn check_size(text: &str) -> Result<(), String> {
    match parse_size(text)? {
        0 => Err("a resource has at least one sector of 512 bytes".into()),
        size if size % SECTOR != 0 => Err(format!("{text} is no multiple of a sector (512 bytes)")),
        _ => Ok(()),
    }
}
