"""What a mammogram is: sources, decoding, lesions, crops, splits. No torch and no Kedro here."""
