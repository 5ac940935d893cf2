"""What every HTTP answer needs: headers, problems, streaming, waiting, telemetry."""
