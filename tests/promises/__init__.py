"""What is promised of every file and every vendor, as properties: each drives whole files through
the real engine on virtual time, and judges it by what arrived at the vendor and by the results.
"""
