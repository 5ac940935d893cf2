"""Export the YOLO detectors that Ultralytics and YOLOv5 write."""
