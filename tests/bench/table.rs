//! Columns for a terminal, or for a README.

/// A table with a unit in each header.
pub struct Table {
    header: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new(header: &[&str]) -> Self {
        Self {
            header: header.iter().map(ToString::to_string).collect(),
            rows: Vec::new(),
        }
    }

    pub fn row(&mut self, cells: Vec<String>) {
        debug_assert_eq!(cells.len(), self.header.len());
        self.rows.push(cells);
    }

    /// The same, but for these columns.
    pub fn without(mut self, headers: &[&str]) -> Self {
        let kept: Vec<bool> = self
            .header
            .iter()
            .map(|it| !headers.contains(&it.as_str()))
            .collect();
        for row in std::iter::once(&mut self.header).chain(&mut self.rows) {
            let mut kept = kept.iter();
            row.retain(|_| kept.next().is_some_and(|&kept| kept));
        }
        self
    }

    /// Aligned by spaces: names to the left, numbers to the right.
    pub fn text(&self) -> String {
        let width = |column: usize| {
            let cells = std::iter::once(&self.header)
                .chain(&self.rows)
                .map(|row| row[column].chars().count());
            cells.max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.header.len()).map(width).collect();
        let line = |row: &Vec<String>| {
            let cells = row
                .iter()
                .zip(&widths)
                .enumerate()
                .map(|(column, (cell, &width))| match column {
                    0 => format!("{cell:<width$}"),
                    _ => format!("{cell:>width$}"),
                });
            cells.collect::<Vec<_>>().join("  ") + "\n"
        };
        std::iter::once(&self.header)
            .chain(&self.rows)
            .map(line)
            .collect()
    }

    pub fn markdown(&self) -> String {
        let line = |row: &Vec<String>| format!("| {} |\n", row.join(" | "));
        let rule = format!("|---|{}\n", "--:|".repeat(self.header.len() - 1));
        line(&self.header) + &rule + &self.rows.iter().map(line).collect::<String>()
    }
}

/// `value` with so many digits behind the point, or a dash where nothing was measured.
pub fn number(value: f64, digits: usize) -> String {
    if value.is_nan() {
        "-".into()
    } else {
        format!("{value:.digits$}")
    }
}
