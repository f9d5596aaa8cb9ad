//! The lines of `--watch` on a terminal.

use super::plot::{Plot, bar, labels};
use crate::offset::Interval;

/// The size of a terminal in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Its width.
    pub columns: usize,
    /// Its height.
    pub rows: usize,
}

/// One measurement, as text.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// When it was made.
    pub time: &'a str,
    /// The offset with its bound; empty if there is none.
    pub offset: &'a str,
    /// How many servers agree; without an offset the reason.
    pub remark: &'a str,
    /// The offset.
    pub interval: Option<Interval>,
}

/// Arranges measurements as lines that fit a terminal, under an axis that stays on it.
///
/// A line has the time, the offset, and a bar that takes the columns left. In a terminal that is
/// too narrow for them the time is left out, or else the bar, or else both. Remarks have lines of
/// their own, which are broken between words; they are repeated only when they change, and with the
/// axis.
#[derive(Debug, Default)]
pub struct Screen {
    plot: Plot,
    offset_columns: usize,
    axis: Option<Axis>,
    remark: String,
    /// The number of lines after the axis.
    lines_below: usize,
}

/// The axis, and where it is in the lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Axis {
    ends: Interval,
    /// Whether the time is shown.
    has_time: bool,
    /// The column of its lower end.
    start: usize,
    /// Its width.
    columns: usize,
}

impl Axis {
    /// Minimum width of bars in a line with the time. In a narrower terminal it is left out.
    const MIN_COLUMNS: usize = 20;

    /// Minimum width of bars in a line without the time.
    const MIN_COLUMNS_WITHOUT_TIME: usize = 10;

    /// Returns the place of an axis in a line of `width` columns, which begins with a time and an
    /// offset of so many columns; `None` if there is none.
    fn new(ends: Interval, width: usize, time: usize, offset: usize) -> Option<Self> {
        let places = [
            (
                true,
                time + GAP.len() + offset + GAP.len(),
                Self::MIN_COLUMNS,
            ),
            (false, offset + GAP.len(), Self::MIN_COLUMNS_WITHOUT_TIME),
        ];
        let [low, high] = labels(ends);
        let place = places
            .into_iter()
            .find(|(_, start, min)| start + min <= width);
        let (has_time, start, _) = place.filter(|_| low.len() + GAP.len() + high.len() <= width)?;
        Some(Self {
            ends,
            has_time,
            start,
            columns: width - start,
        })
    }

    /// Returns the line with the ends of the axis: each above its end or, if they need more space,
    /// both at the end of the line.
    fn line(&self) -> String {
        let Self { start, columns, .. } = *self;
        let [low, high] = labels(self.ends);
        match columns.checked_sub(low.len()) {
            Some(rest) if rest >= GAP.len() + high.len() => {
                format!("{:start$}{low}{high:>rest$}", "")
            }
            _ => format!("{:>1$}", format!("{low}{GAP}{high}"), start + columns),
        }
    }
}

/// Between the parts of a line.
const GAP: &str = "  ";

/// Minimum width of the offset: that of most, so that the bars stay in place.
const OFFSET_COLUMNS: usize = 25;

impl Screen {
    /// Returns the lines for one more measurement, each shorter than the terminal is wide. The axis
    /// is among them if it is new, or would no longer be on the terminal.
    pub fn add(&mut self, entry: Entry<'_>, size: Size) -> String {
        // What fills the last column is followed by an empty line on some terminals.
        let width = size.columns.saturating_sub(1).max(1);
        let Entry {
            time,
            offset,
            remark,
            interval,
        } = entry;
        let used = offset.chars().count().max(OFFSET_COLUMNS);
        self.offset_columns = self.offset_columns.max(used);
        let ends = match interval {
            Some(interval) => Some(self.plot.add(interval)),
            None => self.axis.map(|axis| axis.ends),
        };
        let time_columns = time.chars().count();
        let axis = ends.and_then(|ends| Axis::new(ends, width, time_columns, self.offset_columns));
        let lines = match (interval, axis) {
            (None, _) => wrap(&format!("{time}{GAP}{remark}"), width),
            (Some(_), None) => match format!("{time}{GAP}{offset}") {
                line if line.chars().count() <= width => vec![line],
                _ => wrap(offset, width),
            },
            (Some(interval), Some(axis)) => {
                let time = match axis.has_time {
                    true => format!("{time}{GAP}"),
                    false => String::new(),
                };
                let head = format!("{time}{offset}");
                let bar = bar(axis.ends, interval, axis.columns);
                let start = axis.start;
                vec![format!("{head:start$}{bar}").trim_end().to_owned()]
            }
        };
        let is_new_remark = interval.is_some() && remark != self.remark;
        // All but the axis itself and the line of the cursor.
        let space = size.rows.saturating_sub(2);
        let is_axis_due =
            is_new_remark || axis != self.axis || self.lines_below + lines.len() > space;
        let mut above = Vec::new();
        if interval.is_some() {
            remark.clone_into(&mut self.remark);
        }
        if is_new_remark || (is_axis_due && axis.is_some() && !self.remark.is_empty()) {
            above = wrap(&self.remark, width);
        }
        if is_axis_due && let Some(axis) = axis {
            above.push(axis.line());
            self.lines_below = 0;
        }
        self.axis = axis;
        self.lines_below += lines.len();
        above.extend(lines);
        above.join("\n")
    }
}

/// Units of numbers in a text.
const UNITS: [&str; 5] = ["ns", "us", "ms", "s", "ppm"];

/// Breaks a text between words into lines of at most `width` characters. A longer word is broken
/// too. Where the width suffices, a number stays with its unit and with the `±` before it.
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    let mut columns = 0;
    for (index, word) in words(text, width).iter().enumerate() {
        let space = usize::from(index > 0);
        let length = word.chars().count();
        if columns > 0 && columns + space + length > width {
            lines.push(std::mem::take(&mut line));
            columns = 0;
        } else if index > 0 && columns < width {
            line.push(' ');
            columns += 1;
        }
        for c in word.chars() {
            if columns == width.max(1) {
                lines.push(std::mem::take(&mut line));
                columns = 0;
            }
            line.push(c);
            columns += 1;
        }
    }
    lines.push(line);
    lines
}

/// Splits a text at its spaces, but for those in a number with a unit.
fn words(text: &str, width: usize) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for word in text.split(' ') {
        let is_unit = UNITS.contains(&word.trim_end_matches([',', ';']));
        let last = words.last_mut().filter(|last| {
            let is_joined = is_unit || last.ends_with('±') || last.ends_with("+/-");
            is_joined && last.chars().count() + 1 + word.chars().count() <= width
        });
        match last {
            Some(last) => *last += &format!(" {word}"),
            None => words.push(word.to_owned()),
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::offset::SECOND;
    use crate::report::units::format_interval;
    use proptest::prelude::*;

    const TIME: &str = "08:15:02";

    fn size(columns: usize, rows: usize) -> Size {
        Size { columns, rows }
    }

    fn add(screen: &mut Screen, interval: Interval, remark: &str, size: Size) -> String {
        let entry = Entry {
            time: TIME,
            offset: &format_interval(interval, "±"),
            remark,
            interval: Some(interval),
        };
        screen.add(entry, size)
    }

    fn fail(screen: &mut Screen, remark: &str, size: Size) -> String {
        let entry = Entry {
            time: TIME,
            offset: "",
            remark,
            interval: None,
        };
        screen.add(entry, size)
    }

    #[test]
    fn bar_takes_the_columns_that_are_left() {
        let interval = Interval::around(0, 5_000);
        for (columns, lines) in [
            (
                80,
                [
                    "                                     -0.000010000                  +0.000010000",
                    "08:15:02  +0.000000000 s ± 5.00 us             -----------o----------",
                ],
            ),
            (
                58,
                [
                    "                               -0.000010000  +0.000010000",
                    "08:15:02  +0.000000000 s ± 5.00 us        -----o----",
                ],
            ),
            // No space for the time.
            (
                57,
                [
                    "                           -0.000010000     +0.000010000",
                    "+0.000000000 s ± 5.00 us          -------o-------",
                ],
            ),
            // The labels are wider than the bars.
            (
                40,
                [
                    "             -0.000010000  +0.000010000",
                    "+0.000000000 s ± 5.00 us      ---o--",
                ],
            ),
        ] {
            let shown = add(&mut Screen::default(), interval, "", size(columns, 24));
            assert_eq!(shown.lines().collect::<Vec<_>>(), lines, "{columns}");
        }
        for (columns, lines) in [
            (37, &["08:15:02  +0.000000000 s ± 5.00 us"][..]),
            (34, &["+0.000000000 s ± 5.00 us"]),
            (20, &["+0.000000000 s", "± 5.00 us"]),
        ] {
            let shown = add(&mut Screen::default(), interval, "", size(columns, 24));
            assert_eq!(shown.lines().collect::<Vec<_>>(), lines, "{columns}");
        }
    }

    // 50 years. The ends of the axis do not fit above the bars.
    #[test]
    fn ends_of_the_axis_do_not_touch() {
        let interval = Interval::around(1_577_836_800 * SECOND, 5_000);
        for columns in [80, 60, 47] {
            let shown = add(&mut Screen::default(), interval, "", size(columns, 24));
            let (axis, line) = shown.split_once('\n').expect("two lines");
            let ends: Vec<_> = axis.split_whitespace().collect();
            assert_eq!(ends, ["+1577836799.999990000", "+1577836800.000010000"]);
            assert_eq!(axis.len(), columns - 1);
            assert!(line.contains('o'), "{line}");
        }
        // There is no bar without its axis.
        let shown = add(&mut Screen::default(), interval, "", size(45, 24));
        assert_eq!(shown, "08:15:02  +1577836800.000000000 s ± 5.00 us");
    }

    #[test]
    fn axis_is_repeated_before_it_leaves_the_terminal() {
        let mut screen = Screen::default();
        let interval = Interval::around(0, 5_000);
        let has_axis: Vec<_> = (0..8)
            .map(|_| add(&mut screen, interval, "", size(80, 5)).contains('\n'))
            .collect();
        // Three lines are between the axis and the line of the cursor.
        let expected = [true, false, false, true, false, false, true, false];
        assert_eq!(has_axis, expected);
    }

    #[test]
    fn axis_is_repeated_when_the_width_changes() {
        let mut screen = Screen::default();
        let interval = Interval::around(0, 5_000);
        let mut has_axis = |columns| {
            let shown = add(&mut screen, interval, "", size(columns, 24));
            shown.contains("-0.000010000")
        };
        let shown = [80, 80, 100, 100, 20, 20, 80].map(&mut has_axis);
        assert_eq!(shown, [true, false, true, false, false, false, true]);
    }

    // Otherwise the bars would be beside the axis.
    #[test]
    fn axis_is_repeated_when_a_wider_offset_moves_the_bars() {
        let mut screen = Screen::default();
        let first = Interval::around(0, 200 * SECOND);
        add(&mut screen, first, "", size(80, 24));
        let wide = Interval::around(-10 * SECOND, 99_900_000);
        assert!(!add(&mut screen, wide, "", size(80, 24)).contains('\n'));
        let wider = Interval::around(-100 * SECOND, 99_900_000);
        let text = format_interval(wider, "±");
        assert_eq!(text.chars().count(), OFFSET_COLUMNS + 1, "{text}");
        assert!(add(&mut screen, wider, "", size(80, 24)).contains('\n'));
        assert!(!add(&mut screen, wide, "", size(80, 24)).contains('\n'));
    }

    #[test]
    fn remark_is_shown_when_it_changes_and_with_the_axis() {
        let mut screen = Screen::default();
        let interval = Interval::around(0, 5_000);
        let mut has_remark = |remark: &str, rows| {
            let shown = add(&mut screen, interval, remark, size(80, rows));
            shown.lines().next() == Some(remark)
        };
        assert!(has_remark("agreed by 2 of 2 servers", 6));
        assert!(!has_remark("agreed by 2 of 2 servers", 6));
        assert!(has_remark("agreed by 1 of 1 server, no offset from a", 6));
        let shown = [(); 4].map(|()| has_remark("agreed by 1 of 1 server, no offset from a", 6));
        assert_eq!(shown, [false, false, false, true]);
    }

    #[test]
    fn reason_is_broken_between_words() {
        let mut screen = Screen::default();
        let reason = "no offset from 1 server; 127.0.0.1:9527: Connection refused";
        let shown = fail(&mut screen, reason, size(40, 24));
        assert_eq!(
            shown,
            "08:15:02  no offset from 1 server;\n127.0.0.1:9527: Connection refused"
        );
    }

    #[test]
    fn numbers_stay_with_their_units() {
        let text = "2 measurements: -0.5 to +0.5 s, at best ± 20.6 us";
        let lines = [
            (
                46,
                &["2 measurements: -0.5 to +0.5 s, at best", "± 20.6 us"][..],
            ),
            (
                28,
                &["2 measurements: -0.5 to", "+0.5 s, at best ± 20.6 us"],
            ),
            (
                8,
                &[
                    "2", "measurem", "ents:", "-0.5 to", "+0.5 s,", "at best", "± 20.6", "us",
                ],
            ),
        ];
        for (width, expected) in lines {
            assert_eq!(wrap(text, width), expected, "{width}");
        }
        assert_eq!(wrap("best +/- 3 ms", 10), ["best", "+/- 3 ms"]);
        assert_eq!(wrap("from 1 to 9.5 ppm", 14), ["from 1 to", "9.5 ppm"]);
    }

    #[test]
    fn long_words_are_broken() {
        assert_eq!(wrap("ab cdefghi", 4), ["ab", "cdef", "ghi"]);
        assert_eq!(wrap("abcdefgh ij", 4), ["abcd", "efgh", "ij"]);
        assert_eq!(wrap("abc d", 4), ["abc", "d"]);
        assert_eq!(wrap("ab  c", 5), ["ab  c"]);
        assert_eq!(wrap("", 4), [""]);
        assert_eq!(wrap("ab", 0), ["a", "b"]);
    }

    proptest! {
        // Whatever the sizes, lines fit, and an axis that has bars below it is on the terminal.
        #[test]
        fn lines_fit_and_the_axis_stays(
            measurements in prop::collection::vec(
                (-10i128.pow(19)..10i128.pow(19), 0..10i128.pow(10), 0..4u8, "[a-z ]{0,60}"),
                1..50,
            ),
            columns in 2..140usize,
            rows in 6..40usize,
        ) {
            let mut screen = Screen::default();
            let size = size(columns, rows);
            let mut lines = Vec::<String>::new();
            for (low, width, kind, remark) in measurements {
                let interval = Interval::new(low, low + width).unwrap();
                let shown = match kind {
                    0 => fail(&mut screen, &remark, size),
                    _ => add(&mut screen, interval, &remark, size),
                };
                let new = shown.split('\n').map(str::to_owned);
                lines.extend(new);
                for line in &lines {
                    prop_assert!(line.chars().count() < columns, "{line:?}");
                }
                if let Some(axis) = screen.axis {
                    let visible = &lines[lines.len().saturating_sub(rows - 1)..];
                    let is_text = shown.split('\n').count() > rows - 2;
                    prop_assert!(is_text || visible.contains(&axis.line()), "{visible:#?}");
                }
            }
        }
    }
}
