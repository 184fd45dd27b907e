"""Reports of one evaluation: results.json for programs, report.md for a pull request, report.html for people."""
