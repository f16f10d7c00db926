/* The functions of jpeg.c. src/jpeg/library.rs has the same declarations in Rust. */
#ifndef PSPNETD_JPEG_H
#define PSPNETD_JPEG_H

#include <stddef.h>
#include <stdint.h>

/* A decoder, used for one picture after another. */
struct pspnetd_jpeg;

/* How a call ended. */
enum pspnetd_jpeg_outcome {
  PSPNETD_JPEG_DONE = 0,
  /* libjpeg gave up; pspnetd_jpeg_text says why. */
  PSPNETD_JPEG_FAILED = 1,
  PSPNETD_JPEG_NO_MEMORY = 2,
  /* The data hold tables, and no picture. */
  PSPNETD_JPEG_NO_PICTURE = 3,
  PSPNETD_JPEG_TOO_MANY_SCANS = 4
};

/* The colour space of the stored picture. */
enum pspnetd_jpeg_colour {
  PSPNETD_JPEG_OTHER = 0,
  PSPNETD_JPEG_GREY = 1,
  PSPNETD_JPEG_YCC = 2,
  PSPNETD_JPEG_RGB = 3,
  /* CMYK or YCCK. */
  PSPNETD_JPEG_INK = 4
};

/* What the header announces. */
struct pspnetd_jpeg_header {
  uint32_t width, height;
  uint32_t colour;
  uint32_t components;
  uint32_t precision;
  /* Second byte of the SOF marker. */
  uint32_t process;
  /* Sampling factors of the first four components. */
  uint8_t across[4], down[4];
};

/* What was found while a picture was decoded: libjpeg's warnings counted by their codes, and what it doesn't warn of. */
struct pspnetd_jpeg_findings {
  /* JWRN_EXTRANEOUS_DATA, and the bytes that it counted. */
  uint32_t extraneous, extraneous_bytes;
  /* JWRN_JFIF_MAJOR, JWRN_ADOBE_XFORM, JWRN_BOGUS_ICC, JWRN_NOT_SEQUENTIAL. */
  uint32_t odd_header;
  /* JWRN_HIT_MARKER. */
  uint32_t ended_early;
  /* JWRN_HUFF_BAD_CODE, JWRN_ARITH_BAD_CODE. */
  uint32_t bad_codes;
  /* JWRN_MUST_RESYNC. */
  uint32_t out_of_step;
  /* JWRN_BOGUS_PROGRESSION. */
  uint32_t inconsistent_scans;
  /* Any other warning, and the code of the last. */
  uint32_t other, other_code;
  /* The data end without an EOI marker. */
  uint32_t without_end;
  /* Of several scans, components or coefficients that none of them brought in full. */
  uint32_t missing_scans;
  /* The last part of a scan was decoded from zero bytes, and more of them follow. */
  uint32_t decoded_padding;
  /* Restart intervals behind the last that the picture has. */
  uint32_t surplus_intervals;
  /* Components whose quantisation table isn't in the data. */
  uint32_t without_quantisation;
  /* The data end without an EOI marker, and the arithmetic code doesn't show whether they are complete. */
  uint32_t unknown_end;
};

/* Where a plane is written to. */
struct pspnetd_jpeg_plane {
  uint8_t *data;
  /* Bytes from row to row, pixels of a row, rows, bytes of a pixel. */
  size_t stride, width, rows, bytes;
};

/* NULL where there is no memory. More scans than `scans` are refused. */
struct pspnetd_jpeg *pspnetd_jpeg_new(uint32_t scans);
void pspnetd_jpeg_free(struct pspnetd_jpeg *self);

/*
 * Reads the header of a picture. `data` must stay as they are until pspnetd_jpeg_planes, pspnetd_jpeg_packed or
 * pspnetd_jpeg_leave.
 */
int pspnetd_jpeg_read(struct pspnetd_jpeg *self, const uint8_t *data, size_t length, struct pspnetd_jpeg_header *header);

/*
 * Decodes the picture whose header was read, at 1/`divisor` of its size, to its own planes, as many as it has components.
 * Planes of another size than the picture's fail.
 */
int pspnetd_jpeg_planes(struct pspnetd_jpeg *self, uint32_t divisor, const struct pspnetd_jpeg_plane *planes, uint32_t count,
                        struct pspnetd_jpeg_findings *findings);

/* The same to packed RGB, or to CMYK where the colour is PSPNETD_JPEG_INK. */
int pspnetd_jpeg_packed(struct pspnetd_jpeg *self, uint32_t divisor, const struct pspnetd_jpeg_plane *plane,
                        struct pspnetd_jpeg_findings *findings);

/* Lets go of a picture whose header was read. */
void pspnetd_jpeg_leave(struct pspnetd_jpeg *self);

/* libjpeg's message of the last call that failed. */
const char *pspnetd_jpeg_text(const struct pspnetd_jpeg *self);

#endif
