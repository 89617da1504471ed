"""The HTML report: its sentences, tables and plots."""
