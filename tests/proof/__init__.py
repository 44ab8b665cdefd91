"""What weft promises as a whole: fairness, cancellation, hand-over, life and death, memory, order."""
