# A guest of 64 KiB that is its own firmware: it counts through memory, verifies what it wrote, and tells on the serial port.
#
# It needs no kernel, no BIOS and no paging, so it runs wherever /dev/kvm runs anything at all. Linked flat at 0xf0000, started by
# `-bios` at the reset vector, which the machine maps below 1 MiB too.
#
# In round N every one of PAGES pages gets N and a value mixed from N and its own number; before that, both words of round N - 1 are
# verified in every page. Every sixteenth round ends by writing "count N", or any one by "COUNTER-BROKEN" and a halt. "COUNTER-READY" comes once,
# at the start.
#
# With an NE2000 at port 0x300 (-device ne2k_isa,mac=52:54:00:77:00:02) the end of each round N is also an Ethernet frame to everyone:
# type 0x88b5 (IEEE 802, local experiments), then "UCNT", N and the value mixed from N and page 0, both 32 bits, little-endian.

        .set PAGES, 400
        .set BASE, 0x200000
        .set PORT, 0x3f8
        .set ROUNDS_PER_LINE, 16
        .set CARD, 0x300
        .set CARD_MEMORY, 0x4000
        # Below the pages: the frame, and whether there is a card.
        .set FRAME, BASE - 4096
        .set FRAME_LENGTH, 60
        .set PRESENT, FRAME + 64

        .code16
        .section .text
        .globl _start
_start:
        cli
        lgdtl   %cs:table - _start
        movl    %cr0, %eax
        orl     $1, %eax
        movl    %eax, %cr0
        ljmpl   $8, $protected

        .balign 8
gdt:    .quad   0, 0x00cf9b000000ffff, 0x00cf93000000ffff
table:  .word   23
        .long   gdt

        .code32
protected:
        movw    $16, %ax
        movw    %ax, %ds
        movw    %ax, %es
        movw    %ax, %ss
        movl    $BASE - 16, %esp
        # 115200 baud, 8N1, no interrupts.
        movw    $PORT + 3, %dx
        movb    $0x80, %al
        outb    %al, %dx
        movw    $PORT, %dx
        movb    $1, %al
        outb    %al, %dx
        movw    $PORT + 1, %dx
        xorb    %al, %al
        outb    %al, %dx
        movw    $PORT + 3, %dx
        movb    $3, %al
        outb    %al, %dx
        # Round 0: zero in every page, also after a reset.
        movl    $BASE, %edi
        movl    $PAGES * 1024, %ecx
        xorl    %eax, %eax
        cld
        rep stosl
        xorl    %ebp, %ebp
        call    wake
        movl    $ready, %esi
        call    say

round:  movl    $BASE, %edi
        xorl    %ebx, %ebx
page:   testl   %ebp, %ebp
        jz      write
        cmpl    %ebp, (%edi)
        jne     broken
        movl    %ebp, %eax
        call    mix
        cmpl    %eax, 2048(%edi)
        jne     broken
write:  leal    1(%ebp), %eax
        movl    %eax, (%edi)
        call    mix
        movl    %eax, 2048(%edi)
        addl    $4096, %edi
        incl    %ebx
        cmpl    $PAGES, %ebx
        jb      page
        incl    %ebp
        call    send
        testl   $ROUNDS_PER_LINE - 1, %ebp
        jnz     round
        movl    $count, %esi
        call    say
        movl    %ebp, %eax
        call    number
        movl    $newline, %esi
        call    say
        jmp     round

broken: movl    $failure, %esi
        call    say
halt:   hlt
        jmp     halt

# eax = a value of round eax and page ebx
mix:    imull   $0x9e3779b1, %eax, %eax
        imull   $0x85ebca6b, %ebx, %edx
        xorl    %edx, %eax
        ret

# Writes the zero-terminated text at esi, which lies in the firmware.
say:    lodsb
        testb   %al, %al
        jz      1f
        call    put
        jmp     say
1:      ret

# Writes eax in decimal.
number: movl    $10, %ecx
        xorl    %edx, %edx
        divl    %ecx
        pushl   %edx
        testl   %eax, %eax
        jz      1f
        call    number
1:      popl    %eax
        addb    $'0', %al
put:    pushl   %eax
        movw    $PORT + 5, %dx
1:      inb     %dx, %al
        testb   $0x20, %al
        jz      1b
        popl    %eax
        movw    $PORT, %dx
        outb    %al, %dx
        ret

# Starts the card, if there is one, and prepares the frame.
wake:   movb    $0, PRESENT
        movw    $CARD, %dx
        inb     %dx, %al
        cmpb    $0xff, %al
        je      1f
        movb    $1, PRESENT
        movl    $start, %esi
        call    program
        movl    $header, %esi
        movl    $FRAME, %edi
        movl    $header_end - header, %ecx
        rep movsb
        movl    $FRAME_LENGTH - (header_end - header), %ecx
        xorl    %eax, %eax
        rep stosb
1:      ret

# Sends round ebp, if there is a card.
send:   cmpb    $0, PRESENT
        je      1f
        movl    %ebp, %eax
        movl    %eax, FRAME + 18
        xorl    %ebx, %ebx
        call    mix
        movl    %eax, FRAME + 22
        movl    $copy, %esi
        call    program
        movl    $FRAME, %esi
        movl    $FRAME_LENGTH, %ecx
        movw    $CARD + 0x10, %dx
        rep outsb
        movl    $transmit, %esi
        call    program
2:      movw    $CARD, %dx
        inb     %dx, %al
        testb   $0x04, %al
        jnz     2b
1:      ret

# Writes pairs of register and value at esi to the card; register 0xff ends them.
program:
        xorl    %eax, %eax
        lodsb
        cmpb    $0xff, %al
        je      1f
        leal    CARD(%eax), %edx
        lodsb
        outb    %al, %dx
        jmp     program
1:      ret

# National Semiconductor DP8390, page 0: stop; bytes; nothing received, nothing looped back; ring 0x46-0x60; no interrupts; go.
start:  .byte   0x00, 0x21, 0x0e, 0x48, 0x0a, 0, 0x0b, 0, 0x0c, 0x20, 0x0d, 0x00, 0x01, 0x46, 0x02, 0x60, 0x03, 0x46
        .byte   0x07, 0xff, 0x0f, 0x00, 0x00, 0x22, 0xff
# The frame goes to the card's page 0x40 by remote DMA,
copy:   .byte   0x08, CARD_MEMORY & 0xff, 0x09, CARD_MEMORY >> 8, 0x0a, FRAME_LENGTH, 0x0b, 0, 0x00, 0x12, 0xff
# and from there to the wire.
transmit:
        .byte   0x04, CARD_MEMORY >> 8, 0x05, FRAME_LENGTH, 0x06, 0, 0x00, 0x26, 0xff
header: .byte   0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x52, 0x54, 0x00, 0x77, 0x00, 0x02, 0x88, 0xb5
        .ascii  "UCNT"
header_end:

ready:  .asciz  "COUNTER-READY\n"
count:  .asciz  "count "
newline:.asciz  "\n"
failure:.asciz  "COUNTER-BROKEN\n"

        .org    0xfff0
        .code16
        ljmp    $0xf000, $0
        .org    0x10000
