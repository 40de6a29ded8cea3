"""Google's generateContent, simulated: its checks, its answers and streams, for the Gemini API and Vertex AI."""
