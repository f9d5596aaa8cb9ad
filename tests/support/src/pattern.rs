//! Output of examples, compared without what depends on the time and the machine.

/// Replaces what depends on the time and the machine: numbers, signs, days, months, small units and
/// the widths of columns.
pub fn pattern_of(text: &str) -> String {
    let mut pattern = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let end = |is: fn(char) -> bool| rest.find(|c| !is(c)).unwrap_or(rest.len());
        let length = if first.is_ascii_digit() {
            if pattern.ends_with(['+', '-']) {
                pattern.pop();
                pattern.push('±');
            }
            pattern.push('9');
            end(|c| c.is_ascii_digit() || c == '.')
        } else if first.is_alphabetic() {
            let length = end(char::is_alphabetic);
            pattern += match &rest[..length] {
                day if day.ends_with("day") => "day",
                month if month.parse::<chrono::Month>().is_ok() => "month",
                "ns" | "us" | "ms" => "us",
                word => word,
            };
            length
        } else if first == ' ' {
            pattern.push(' ');
            end(|c| c == ' ')
        } else {
            pattern.push(first);
            first.len_utf8()
        };
        rest = &rest[length..];
    }
    pattern
}
