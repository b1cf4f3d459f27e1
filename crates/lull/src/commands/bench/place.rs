//! What can be loaded, as it is written on the command line.

use lull_frontend::nbd::Uri;
use lull_transport::Addr;

use crate::exit::Failure;

/// Reads every place.
///
/// # Errors
/// The first that is no NBD server, or is the same as another.
pub fn parse_all(texts: &[String]) -> Result<Vec<Uri>, Failure> {
    let mut uris: Vec<Uri> = Vec::new();
    for text in texts {
        let uri = parse(text).map_err(Failure::Usage)?;
        if uris.contains(&uri) {
            return Err(Failure::Usage(format!(
                "{text} is given twice, and each load would find the other's writes\n  next: name \
                 each disk once; --depth puts more load on it"
            )));
        }
        uris.push(uri);
    }
    Ok(uris)
}

fn parse(text: &str) -> Result<Uri, String> {
    if text.starts_with("lull:") || text.starts_with("lull+") {
        return Err(format!(
            "{text} is loaded through its front end\n  next: attach it first: lull attach '{text}' \
             --nbd unix:/tmp/disk.sock, then: lull bench unix:/tmp/disk.sock"
        ));
    }
    if text.starts_with("unix:") || text.starts_with("tcp:") {
        let addr: Addr = text.parse().map_err(|error| format!("{error}"))?;
        return Ok(Uri { addr, export: String::new() });
    }
    text.parse().map_err(|error| {
        format!("{error}\n  next: write unix:/path, tcp:host:port, nbd://… or nbd+unix://…")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_of_a_place_is_read() {
        for (text, printed) in [
            ("unix:/run/d.sock", "nbd+unix:///?socket=/run/d.sock"),
            ("tcp:localhost:10809", "nbd://localhost/"),
            ("nbd://db:7/disk", "nbd://db:7/disk"),
            ("nbd+unix:///disk?socket=/s", "nbd+unix:///disk?socket=/s"),
        ] {
            assert_eq!(parse(text).unwrap().to_string(), printed);
        }
    }

    #[test]
    fn each_mistake_names_the_next_step() {
        for (text, step) in [
            ("lull://db/disk", "lull attach 'lull://db/disk'"),
            ("lull+unix:///d?socket=/s", "attach it first"),
            ("/run/d.sock", "unix:/path"),
            ("tcp:nowhere:x", "tcp:"),
        ] {
            let said = parse(text).expect_err(text);
            assert!(said.contains(step), "{text}: {said}");
        }
        let twice = ["unix:/a".to_owned(), "nbd+unix:///?socket=/a".to_owned()];
        assert!(parse_all(&twice).unwrap_err().to_string().contains("given twice"));
    }
}
