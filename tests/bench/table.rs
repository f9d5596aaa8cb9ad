//! Tables as text for a terminal or as Markdown.

/// A table with a title, and with a unit in each column's header.
pub struct Table {
    title: &'static str,
    /// The header and the rows.
    lines: Vec<Vec<String>>,
}

impl Table {
    pub fn new(title: &'static str, header: &[&str]) -> Self {
        Self {
            title,
            lines: vec![header.iter().map(ToString::to_string).collect()],
        }
    }

    pub fn row(&mut self, cells: Vec<String>) {
        debug_assert_eq!(cells.len(), self.lines[0].len());
        self.lines.push(cells);
    }

    /// Removes the columns with these headers.
    pub fn without(mut self, headers: &[&str]) -> Self {
        let keep = |header: &String| !headers.contains(&header.as_str());
        let keep: Vec<bool> = self.lines[0].iter().map(keep).collect();
        for line in &mut self.lines {
            let mut keep = keep.iter();
            line.retain(|_| keep.next() == Some(&true));
        }
        self
    }

    /// Aligns the first column to the left and the others to the right.
    pub fn text(&self) -> String {
        let columns = 0..self.lines[0].len();
        let width = |column: usize| {
            let cells = self.lines.iter().map(|line| line[column].chars().count());
            cells.max().unwrap_or(0)
        };
        let widths: Vec<usize> = columns.map(width).collect();
        let mut text = format!("{}\n\n", self.title);
        for line in &self.lines {
            for (column, (cell, &width)) in line.iter().zip(&widths).enumerate() {
                text += &match column {
                    0 => format!("{cell:<width$}"),
                    _ => format!("  {cell:>width$}"),
                };
            }
            text += "\n";
        }
        text
    }

    pub fn markdown(&self) -> String {
        let mut text = format!("### {}\n\n", self.title);
        for (index, line) in self.lines.iter().enumerate() {
            text += &format!("| {} |\n", line.join(" | "));
            if index == 0 {
                text += &format!("|---|{}\n", "--:|".repeat(line.len() - 1));
            }
        }
        text
    }
}

/// Formats `value` with so many decimal places, or a dash if there is none.
pub fn number(value: f64, decimals: usize) -> String {
    if value.is_nan() {
        "-".into()
    } else {
        format!("{value:.decimals$}")
    }
}
