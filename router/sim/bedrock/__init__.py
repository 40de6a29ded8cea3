"""Amazon Bedrock's Converse, simulated: its checks, its answers and binary streams, its signatures."""
