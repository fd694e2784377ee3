//! Lines of a log, as far as this program's own constant words go.
use super::messages::MESSAGES;
use crate::limits::support::MAX_LINES;
use crate::refusals;

const LEVELS: [&str; 5] = ["ERROR", "WARN", "INFO", "DEBUG", "TRACE"];

/// The last lines of a log, text or JSON, each as `time level message [code]`; what has none of our messages is counted.
pub fn told(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let last = &lines[lines.len().saturating_sub(MAX_LINES)..];
    let mut told = String::new();
    let mut left_out = lines.len() - last.len();
    for line in last {
        match one(line) {
            Some(line) => {
                told.push_str(&line);
                told.push('\n');
            }
            None => left_out += 1,
        }
    }
    told + &format!("{left_out} more left out\n")
}

fn one(line: &str) -> Option<String> {
    match serde_json::from_str::<serde_json::Value>(line) {
        Ok(json) => {
            let fields = &json["fields"];
            let message = fields["message"].as_str()?;
            let message = MESSAGES.iter().find(|known| **known == message)?;
            laid_out(json["timestamp"].as_str()?, json["level"].as_str()?, message, fields["code"].as_str())
        }
        Err(_) => {
            let mut words = line.split_whitespace();
            let (time, level) = (words.next()?, words.next()?);
            // The longest: one message may begin as another does.
            let stands = |message: &&&str| line.contains(&format!(": {message}"));
            let message = MESSAGES.iter().filter(stands).max_by_key(|message| message.len())?;
            let code = line.split_once(" code=").and_then(|(_, behind)| behind.split_whitespace().next());
            laid_out(time, level, message, code)
        }
    }
}

fn laid_out(time: &str, level: &str, message: &str, code: Option<&str>) -> Option<String> {
    // Written anew: what is no time has none.
    let time = humantime::parse_rfc3339(time).ok()?;
    let level = LEVELS.iter().find(|known| **known == level)?;
    let code = code.and_then(refusals::known).map(|code| format!(" [{code}]")).unwrap_or_default();
    Some(format!("{} {level} {message}{code}", humantime::format_rfc3339_millis(time)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn of_a_line_only_what_this_program_says_to_everybody_is_told() {
        let text = "2026-11-23T13:05:57.120123Z  WARN study{id=4f}: sund_agent::pipeline: stage refused code=volume-mixed-spacing reason=Quillfeather\n\
                    2026-11-23T13:05:58Z  INFO sund_agent: the patient Quillfeather came\n\
                    Quillfeather INFO sund: drained\n\
                    {\"timestamp\":\"2026-11-23T13:05:59Z\",\"level\":\"INFO\",\"fields\":{\"message\":\"drained\",\"code\":\"quill-feather\"}}\n";
        let expected = "2026-11-23T13:05:57.120Z WARN stage refused [volume-mixed-spacing]\n\
                        2026-11-23T13:05:59.000Z INFO drained\n2 more left out\n";
        assert_eq!(told(text), expected);
    }

    /// A message that is not listed would be missing where somebody looks for it.
    #[test]
    fn every_constant_message_of_the_source_is_listed() {
        fn walk(folder: &Path, missing: &mut Vec<String>) {
            for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
                if path.is_dir() {
                    walk(&path, missing);
                    continue;
                }
                let text = std::fs::read_to_string(&path).unwrap_or_default();
                let product = text.split("#[cfg(test)]").next().unwrap();
                for level in ["info", "warn", "error", "debug"] {
                    for call in product.split(&format!("tracing::{level}!(")).skip(1) {
                        let call = call.split(");").next().unwrap();
                        // The message is the last text of a call.
                        let message = call.rsplit('"').nth(1).unwrap_or_default();
                        if message.contains(' ') && !message.contains('{') && !MESSAGES.contains(&message) {
                            missing.push(message.to_owned());
                        }
                    }
                }
            }
        }
        let mut missing = Vec::new();
        walk(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut missing);
        assert!(missing.is_empty(), "{missing:#?}");
    }
}
