//! Numbers: decimal, hexadecimal, with sign, with a bare point, `Infinity` and `NaN`.
//! Refuses leading zeros and digits that run into a word, as ECMAScript 5.1 does.

use super::{Parser, Step, Value, is_name_part};
use crate::problem::Problem;

pub(super) fn float(float: f64) -> Value {
    // Up to 2^53 a double holds every integer, so a whole number written as 1e3 is as good as 1000.
    let whole = float.fract() == 0.0 && float.abs() <= 9_007_199_254_740_992.0;
    Value::Number {
        float,
        integer: whole.then_some(float as i64),
    }
}

impl Parser<'_> {
    pub(super) fn number(&mut self) -> Step<Value> {
        let start = self.at;
        let negative = self.eat('-');
        if !negative {
            self.eat('+');
        }
        let sign = if negative { -1.0 } else { 1.0 };
        if self.peek().is_some_and(|c| c.is_ascii_alphabetic()) {
            return match self.name()?.as_str() {
                "Infinity" => Ok(float(sign * f64::INFINITY)),
                "NaN" => Ok(float(f64::NAN)),
                _ => Err(self.malformed(start)),
            };
        }
        let hexadecimal = self.rest().starts_with("0x") || self.rest().starts_with("0X");
        if hexadecimal {
            self.at += 2;
        }
        let digits_at = self.at;
        let count = match hexadecimal {
            true => self.digits(16),
            false => self.decimal(start)?,
        };
        let text = &self.text[digits_at..self.at];
        let runs_on = |c| is_name_part(c) || matches!(c, '.' | '\\');
        if count == 0 || self.peek().is_some_and(runs_on) {
            self.next();
            return Err(self.malformed(start));
        }
        if hexadecimal {
            let exact = i64::from_str_radix(text, 16).ok();
            return Ok(Value::Number {
                float: sign * nearest(text),
                integer: exact.map(|value| if negative { -value } else { value }),
            });
        }
        let value = sign * text.parse::<f64>().map_err(|_| self.malformed(start))?;
        Ok(match (float(value), text.parse::<i64>()) {
            (Value::Number { float, .. }, Ok(whole)) => Value::Number {
                float,
                integer: Some(if negative { -whole } else { whole }),
            },
            (other, _) => other,
        })
    }

    /// Consumes a decimal number; gives how many digits its mantissa has.
    fn decimal(&mut self, start: usize) -> Step<usize> {
        let leading_zero = self.peek() == Some('0');
        let whole = self.digits(10);
        if leading_zero && whole > 1 {
            let problem = Problem::at(self.since(start), "a number must not start with 0");
            return Err(problem.help("remove the zero; octal numbers do not exist in JSON5"));
        }
        let fraction = if self.eat('.') { self.digits(10) } else { 0 };
        if whole + fraction > 0 && matches!(self.peek(), Some('e' | 'E')) {
            self.next();
            if !self.eat('-') {
                self.eat('+');
            }
            if self.digits(10) == 0 {
                return Err(self.malformed(start));
            }
        }
        Ok(whole + fraction)
    }

    fn digits(&mut self, radix: u32) -> usize {
        let start = self.at;
        while self.peek().is_some_and(|c| c.is_digit(radix)) {
            self.next();
        }
        self.at - start
    }

    fn malformed(&self, start: usize) -> Problem {
        Problem::at(self.since(start), "this is not a number").help("text needs quotes")
    }
}

/// The nearest number to hexadecimal digits. Adding them up as floats would round at each step.
fn nearest(digits: &str) -> f64 {
    let digits = digits.chars().filter_map(|c| c.to_digit(16));
    let (mut first, mut beyond) = (0_u128, 0_i32);
    for digit in digits {
        if first >> 120 == 0 {
            first = first << 4 | u128::from(digit);
        } else {
            // Beyond more digits than count: all that matters is whether there was anything.
            first |= u128::from(digit != 0);
            beyond = beyond.saturating_add(4);
        }
    }
    first as f64 * 2_f64.powi(beyond)
}
