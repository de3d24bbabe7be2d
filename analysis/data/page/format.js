"use strict";
/** Numbers as text, in the forms of the report and of the terminal. */

const MINUS = "\u2212";
const NOT_KNOWN = "";

/** @param {number} value @param {number} decimals @returns {string} */
function formatDecimals(value, decimals) {
  const text = value.toFixed(decimals);
  return Number(text) === 0 ? text.replace("-", "") : text.replace("-", MINUS);
}

/**
 * Format a number with four digits, or with an exponent if it is very large or small.
 * @param {?number} value
 * @returns {string}
 */
function formatNumber(value) {
  if (value === null || value === undefined) return NOT_KNOWN;
  const size = Math.abs(value);
  if (value !== 0 && (size >= 1e6 || size < 1e-3)) return value.toExponential(2).replace("-", MINUS);
  if (Number.isInteger(value)) return formatCount(value);
  return formatDecimals(value, Math.max(0, 3 - Math.floor(Math.log10(size || 1))));
}

/** @param {?number} value a whole number @returns {string} with commas between thousands */
function formatCount(value) {
  return value === null || value === undefined ? NOT_KNOWN : value.toLocaleString("en-US");
}

/** @param {?number} seconds @returns {string} such as "12 min" */
function formatDuration(seconds) {
  if (seconds === null || seconds === undefined) return NOT_KNOWN;
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return `${(seconds / 3600).toFixed(1)} h`;
}

/** @param {Object} score of the payload @param {?number} value @returns {string} with its unit */
function formatScore(score, value) {
  if (value === null || value === undefined) return "n/a";
  const text = formatDecimals(value * score.factor, score.decimals);
  return score.unit ? `${text} ${score.unit}` : text;
}
