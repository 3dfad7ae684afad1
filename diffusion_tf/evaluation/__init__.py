"""What an evaluation shows: numbers beside the paper's, neighbours, plots, and one report."""
