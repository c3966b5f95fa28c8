//! A plot of text: the oldest data of each moment, as bars.

use model::Nanos;

use super::plan::Window;
use super::show::span_text;

const COLUMNS: usize = 60;
const ROWS: usize = 6;

/// Eighths of a row.
const EIGHTHS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Ages that are too small to be looked at.
const AGE_MIN: Nanos = Nanos::MILLI;

/// Bars of the ages between two moments; nothing when there is nothing to see.
pub(super) fn plot(ages: &[(Nanos, Nanos)], (from, to): (Nanos, Nanos), stalls: &[Window]) -> String {
    let width = Nanos((to.since(from).0 / COLUMNS as u64).max(1));
    let mut oldest = [None::<Nanos>; COLUMNS];
    for &(at, age) in ages {
        let column = &mut oldest[((at.since(from).0 / width.0) as usize).min(COLUMNS - 1)];
        *column = (*column).max(Some(age));
    }
    let Some(max) = oldest.iter().flatten().max().copied().filter(|&max| max >= AGE_MIN) else {
        return String::new();
    };
    let mut out = format!("data age when received, the oldest of every {}\n", span_text(width));
    for row in (0..ROWS).rev() {
        let label = match row {
            _ if row == ROWS - 1 => span_text(max),
            0 => "0".to_owned(),
            _ => String::new(),
        };
        let bars: String = oldest.iter().map(|age| bar(*age, max, row)).collect();
        out.push_str(format!("{label:>9} │{bars}").trim_end());
        out.push('\n');
    }
    let is_stalled = |column: usize| {
        let begin = from + Nanos(width.0 * column as u64);
        stalls.iter().any(|stall| stall.from < begin + width && begin < stall.to)
    };
    let axis: String = (0..COLUMNS).map(|column| if is_stalled(column) { '▒' } else { '─' }).collect();
    let stalled = if axis.contains('▒') { "   ▒ does not read" } else { "" };
    let (left, right) = (offset_text(from), offset_text(to));
    let gap = COLUMNS.saturating_sub(left.chars().count());
    out + &format!("{:>9} └{axis}\n{:11}{left}{right:>gap$}{stalled}\n", "", "")
}

/// The part of a bar that lies in a row, counted from below; data of any age shows at least a line.
fn bar(age: Option<Nanos>, max: Nanos, row: usize) -> char {
    let Some(age) = age else { return ' ' };
    let eighths = (u128::from(age.0) * (ROWS * 8) as u128).div_ceil(u128::from(max.0)).max(1) as usize;
    EIGHTHS[eighths.saturating_sub(row * 8).min(8)]
}

fn offset_text(offset: Nanos) -> String {
    format!("+{}", span_text(offset))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_as_high_as_the_oldest_of_their_moment() {
        let ms = Nanos::from_millis;
        let ages =
            [(ms(0), ms(0)), (ms(30_000), ms(3_000)), (ms(30_001), ms(6_000)), (ms(60_000), ms(1_000))];
        let stall = Window { from: ms(20_000), to: ms(30_000) };
        let shown = plot(&ages, (ms(0), ms(60_000)), &[stall]);
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(lines[0], "data age when received, the oldest of every 1.00 s");
        assert_eq!(lines[1], format!("   6.00 s │{:30}█", ""));
        assert_eq!(lines[6], format!("        0 │▁{:29}█{:28}█", "", ""));
        assert_eq!(lines[7], format!("{:10}└{}{}{}", "", "─".repeat(20), "▒".repeat(10), "─".repeat(30)));
        assert_eq!(lines[8], format!("{:11}+0 ms{:>55}   ▒ does not read", "", "+60.00 s"));
        assert_eq!(lines.len(), 9);
    }

    #[test]
    fn nothing_to_see_is_not_shown() {
        assert_eq!(plot(&[], (Nanos(0), Nanos::SECOND), &[]), "");
        assert_eq!(plot(&[(Nanos(5), Nanos(7))], (Nanos(0), Nanos::SECOND), &[]), "");
    }
}
