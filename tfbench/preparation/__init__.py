"""What is made of clips before they are judged or learnt from: faces, crops, features."""
