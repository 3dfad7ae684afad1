"""report.html: the numbers beside the paper's, plots and pictures."""
