"""What is expected of a call: length, latency, quality, and the histograms behind them."""
